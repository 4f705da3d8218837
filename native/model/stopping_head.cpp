#include "model/stopping_head.h"

#include <algorithm>
#include <cmath>

#include "ops/activation/activation.h"
#include "ops/gemm/gemm.h"

namespace outrider {
namespace {

constexpr long kClasses = 2;
constexpr auto kMode = ops::Rounding::kNone;

// Floats of a vector of n in scratch memory, whole cache lines.
constexpr long padded(long n) { return (n + kPanelRows - 1) / kPanelRows * kPanelRows; }

}  // namespace

Result StoppingHead::pack(const Layer& layer, long rows, long cols, Packed* packed) {
  if (layer.weight.size() != static_cast<std::size_t>(rows * cols) ||
      layer.bias.size() != static_cast<std::size_t>(rows)) {
    return Result::error(Status::kArgument, "Expected " + std::to_string(rows) + " rows of " + std::to_string(cols) +
                                                " weights and a bias each in a layer of a stopping head");
  }
  const PackedLayout layout = packed_layout(WeightFormat::kF32, rows, cols, 0, false, 0);
  packed->memory = Buffer(layout.total);
  if (!packed->memory) return Result::error(Status::kMemory, "Cannot allocate a stopping head");
  for (long panel = 0; panel < layout.panels; ++panel) {
    const long first = panel * kPanelRows, count = std::min(kPanelRows, rows - first);
    const std::uint8_t* values[kPanelRows];
    for (long r = 0; r < count; ++r) {
      values[r] = reinterpret_cast<const std::uint8_t*>(layer.weight.data() + (first + r) * cols);
    }
    pack_dense_panel(layout, values, count,
                     packed->memory.data() + static_cast<std::size_t>(panel) * layout.panel_stride);
  }
  packed->matrix = {layout, packed->memory.data()};
  packed->bias = layer.bias;
  return {};
}

Result StoppingHead::make(long hidden, const std::vector<Layer>& blocks, const Layer& classes,
                          std::shared_ptr<const StoppingHead>* head) {
  if (hidden < 1 || hidden > kMostHeadHidden || blocks.size() > static_cast<std::size_t>(kMostHeadBlocks))
    return Result::error(Status::kArgument, "Expected a hidden size up to 65536 and at most 16 blocks");
  auto made = std::make_shared<StoppingHead>();
  made->hidden_ = hidden;
  made->ones_.assign(static_cast<std::size_t>(hidden), 1.0f);
  made->blocks_.resize(blocks.size());
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (Result packed = pack(blocks[i], hidden, hidden, &made->blocks_[i]); !packed.ok()) return packed;
  }
  if (Result packed = pack(classes, kClasses, hidden, &made->classes_); !packed.ok()) return packed;
  *head = std::move(made);
  return {};
}

// Two vectors of the hidden size, one of classes, and the prepared input of a layer: all layers have the same columns.
std::size_t StoppingHead::scratch_bytes() const {
  return static_cast<std::size_t>(2 * padded(hidden_) + padded(kClasses)) * sizeof(float) +
         ops::GemmInput::bytes(classes_.matrix.layout, 1, kMode);
}

void StoppingHead::multiply(const Packed& layer, const float* x, float* out, std::byte* prepared, Level level) {
  const PackedLayout& layout = layer.matrix.layout;
  ops::GemmInput input = ops::GemmInput::place(layout, 1, kMode, prepared);
  ops::gemm_prepare({x, DType::kF32, layout.cols, &layout, &input, 0, 1}, level);
  ops::gemm({&layer.matrix, &input, layer.bias.data(), out, layout.rows, 0, layout.panels}, level);
}

float StoppingHead::acceptance(const float* state, std::byte* scratch, Level level) const {
  auto* const x = reinterpret_cast<float*>(scratch);
  float *const branch = x + padded(hidden_), *const logits = branch + padded(hidden_);
  auto* const prepared = reinterpret_cast<std::byte*>(logits + padded(kClasses));
  std::copy(state, state + hidden_, x);
  for (const Packed& block : blocks_) {
    multiply(block, x, branch, prepared, level);
    ops::activation({ops::Activation::kSilu, branch, ones_.data(), branch, hidden_}, level);
    for (long k = 0; k < hidden_; ++k) x[k] += branch[k];
  }
  multiply(classes_, x, logits, prepared, level);
  return 1.0f / (1.0f + std::exp(logits[0] - logits[1]));
}

}  // namespace outrider
