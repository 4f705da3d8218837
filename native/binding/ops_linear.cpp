// Ops on packed weights.
#include <napi.h>

#include <algorithm>

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "binding/args.h"
#include "binding/tagged.h"
#include "ops/embedding/embedding.h"
#include "ops/gemm/gemm.h"

namespace outrider::binding {
namespace {

using Info = Napi::CallbackInfo;

constexpr long kMaxDimension = 1L << 31;

// What a JavaScript handle of packed weights holds.
struct PackedWeights {
  PackedMatrix matrix;
  Buffer memory;
};

const PackedMatrix& packed_arg(const Info& info, std::size_t index) {
  const auto* const weights = held<PackedWeights>(info[index], kPackedTag);
  if (weights == nullptr) wrong(info.Env(), "packed weights", "weights");
  return weights->matrix;
}

void pack_codes(const PackedLayout& layout, int bits, const std::uint8_t* data, const float* scale, const float* zero,
                std::byte* out) {
  const long row_bytes = (layout.cols * bits + 7) / 8;
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(kPanelRows * layout.cols));
  for (long panel = 0; panel < layout.panels; ++panel) {
    const long first = panel * kPanelRows, rows = std::min(kPanelRows, layout.rows - first);
    for (long r = 0; r < rows; ++r) {
      unpack_codes(data + (first + r) * row_bytes, layout.cols, bits, codes.data() + r * layout.cols);
    }
    pack_affine_panel(layout, {codes.data(), scale + first * layout.groups, zero + first * layout.groups, rows},
                      out + static_cast<std::size_t>(panel) * layout.panel_stride);
  }
}

// (format, rows, cols, data, group, scaleFormat, scale, zero) => handle. format: f32, f16, bf16, affine2, affine3,
// affine4, affine8. Dense data is row-major; scale and zero are Float32Array or f16 bits.
Napi::Value pack_weights(const Info& info) {
  const Napi::Env env = info.Env();
  const std::string format = info[0].ToString().Utf8Value();
  const long rows = take_integer(info[1], "rows", 1, kMaxDimension),
             cols = take_integer(info[2], "cols", 1, kMaxDimension);
  auto weights = std::make_unique<PackedWeights>();
  const bool affine = format.rfind("affine", 0) == 0;
  const int bits = affine ? format.back() - '0' : 0;
  if (affine && bits != 2 && bits != 3 && bits != 4 && bits != 8) wrong(env, "2, 3, 4 or 8 bits", "format");
  const DType type = affine ? DType::kU8 : read_float_type(info[0], "format");
  const long group = affine ? take_integer(info[4], "group", 1, kMaxDimension) : 0;
  const WeightFormat packed = affine                ? affine_format(bits, group, cols)
                              : type == DType::kF32 ? WeightFormat::kF32
                              : type == DType::kF16 ? WeightFormat::kF16
                                                    : WeightFormat::kBF16;
  const bool f32_scales = affine && info[5].ToString().Utf8Value() == "f32";
  PackedLayout layout = packed_layout(packed, rows, cols, group, f32_scales, 0);
  const auto allocate = [&] {
    weights->memory = Buffer(layout.total);
    if (!weights->memory) throw_error(env, Status::kMemory, "Cannot allocate packed weights");
    weights->matrix = {layout, weights->memory.data()};
  };
  if (affine) {
    const auto* data = take_array<std::uint8_t>(info[3], rows * ((cols * bits + 7) / 8), "data");
    const long parameters = rows * layout.groups;
    const DType parameter_type = f32_scales ? DType::kF32 : DType::kF16;
    std::vector<float> scale(static_cast<std::size_t>(parameters)), zero(static_cast<std::size_t>(parameters));
    const void* s = take_floats(info[6], parameter_type, parameters, "scale");
    const void* z = take_floats(info[7], parameter_type, parameters, "zero");
    for (std::size_t i = 0; i < scale.size(); ++i) {
      scale[i] = load_float(s, parameter_type, i);
      zero[i] = load_float(z, parameter_type, i);
    }
    if (const int middle = 1 << (bits - 1); has_zero_point(scale.data(), zero.data(), parameters, middle))
      layout = packed_layout(packed, rows, cols, layout.group, f32_scales, middle);
    allocate();
    pack_codes(layout, bits, data, scale.data(), zero.data(), weights->memory.data());
  } else {
    const auto* data = static_cast<const std::uint8_t*>(take_floats(info[3], type, rows * cols, "data"));
    const std::size_t row_bytes = static_cast<std::size_t>(cols) * dtype_bytes(type);
    allocate();
    for (long panel = 0; panel < layout.panels; ++panel) {
      const long first = panel * kPanelRows;
      const long count = std::min(kPanelRows, rows - first);
      const std::uint8_t* values[kPanelRows];
      for (long r = 0; r < count; ++r) values[r] = data + static_cast<std::size_t>(first + r) * row_bytes;
      pack_dense_panel(layout, values, count,
                       weights->memory.data() + static_cast<std::size_t>(panel) * layout.panel_stride);
    }
  }
  return tagged_handle(env, std::move(weights), kPackedTag);
}

// (weights, x, xType, N, bias | undefined, out, "float" | "int8" | "bf16", level?, threads?)
void gemm(const Info& info) {
  const Napi::Env env = info.Env();
  const PackedMatrix& w = packed_arg(info, 0);
  const DType type = read_float_type(info[2], "x type");
  const long N = take_integer(info[3], "N", 0, kMaxDimension), K = w.layout.cols, M = w.layout.rows;
  const void* x = take_floats(info[1], type, N * K, "x");
  const float* bias = take_optional<float>(info[4], M, "bias");
  float* out = take_array<float>(info[5], N * M, "out");
  constexpr const char* kModes[] = {"float", "int8", "bf16"};
  const auto mode = static_cast<ops::Rounding>(take_choice(info[6], kModes, "activation"));
  const Level level = read_level(info[7]);
  const auto threads = absent(info[8]) ? 1 : static_cast<int>(take_integer(info[8], "threads", 1, kMaxThreads));
  if (mode != ops::Rounding::kNone && mode != ops::rounding_of(w.layout.format))
    throw_error(env, Status::kUnsupported,
                "Expected affine weights for int8 activations and bf16 weights for bf16 ones");
  if (mode == ops::Rounding::kInt8 && w.layout.group > ops::kMaxInt8Group) {
    throw_error(env, Status::kUnsupported,
                "Expected groups of at most " + std::to_string(ops::kMaxInt8Group) +
                    " inputs for int8 activations, received " + std::to_string(w.layout.group));
  }
  if (N == 0) return;
  const Buffer block(ops::GemmInput::bytes(w.layout, N, mode) + 64);
  if (!block) throw_error(env, Status::kMemory, "Cannot allocate prepared activations");
  ops::GemmInput input = ops::GemmInput::place(w.layout, N, mode, block.data());
  parallel(threads, [&](int index, int count) {
    const Share rows = share_of(N, index, count);
    if (rows.begin < rows.end) ops::gemm_prepare({x, type, K, &w.layout, &input, rows.begin, rows.end}, level);
  });
  parallel(threads, [&](int index, int count) {
    const Share panels = share_of(w.layout.panels, index, count);
    ops::gemm({&w, &input, bias, out, M, panels.begin, panels.end}, level);
  });
}

// (weights, tokens, N, scale, out, level?, mix weights?, J?)
void embedding(const Info& info) {
  const PackedMatrix& table = packed_arg(info, 0);
  const long N = take_integer(info[2], "N", 0, kMaxDimension);
  const bool mixed = !absent(info[6]);
  const long J = mixed ? take_integer(info[7], "J", 1, kMaxDimension) : 1;
  const std::vector<std::int32_t> tokens = copy_array<std::int32_t>(info[1], N * J, "tokens");
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= table.layout.rows) wrong(info.Env(), "tokens below the number of rows", "tokens");
  }
  const Buffer scratch(mixed ? static_cast<std::size_t>(table.layout.cols) * sizeof(float) : 0);
  if (mixed && !scratch) throw_error(info.Env(), Status::kMemory, "Cannot allocate a row of the table");
  ops::embedding(
      {&table, tokens.data(), N, take_float(info[3], "scale"), take_array<float>(info[4], N * table.layout.cols, "out"),
       table.layout.cols, mixed ? take_array<float>(info[6], N * J, "mix weights") : nullptr, J, scratch.as<float>()},
      read_level(info[5]));
}

}  // namespace

void export_linear_ops(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, auto function) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("packWeights", pack_weights);
  add("gemm", gemm);
  add("embedding", embedding);
}

}  // namespace outrider::binding
