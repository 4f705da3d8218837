#include "quantize/product.h"

#include <algorithm>
#include <cstring>

#include "base/thread_pool.h"
#include "ops/gemm/gemm.h"

namespace outrider::quantize {
namespace {

// Rows of x that are prepared at a time: their copies stay in a second-level cache for common widths.
constexpr long kRows = 512;

bool reserve(Buffer* buffer, std::size_t bytes) {
  if (buffer->size() < bytes) *buffer = Buffer(bytes);
  return buffer->size() >= bytes;
}

// Panels of rows [first, first + count) of w; see formats/packed.h. Lanes past the last one are zero already.
void pack_f32(const View& w, long first, long count, float* panel) {
  if (w.transposed) {
    for (long k = 0; k < w.cols; ++k) {
      std::memcpy(panel + k * kPanelRows, w.data + k * w.stride + first,
                  static_cast<std::size_t>(count) * sizeof(float));
    }
    return;
  }
  for (long r = 0; r < count; ++r) {
    const float* row = w.data + (first + r) * w.stride;
    for (long k = 0; k < w.cols; ++k) panel[k * kPanelRows + r] = row[k];
  }
}

void pair_panel([[maybe_unused]] const float* panel, [[maybe_unused]] long cols, [[maybe_unused]] std::byte* out) {
#ifdef __x86_64__
  avx512::pair_panel(panel, cols, out);
#endif
}

}  // namespace

Result Product::multiply(const float* x, long N, long x_stride, const View& w, float* out, long out_stride,
                         Factors factors) {
  const bool pairs = factors == Factors::kBF16 && effort_.level >= Level::kAvx512;
  const WeightFormat format = pairs ? WeightFormat::kBF16 : WeightFormat::kF32;
  const ops::Rounding rounding = ops::rounding_of(format);
  const PackedLayout layout = packed_layout(format, w.rows, w.cols, 0, false, 0);
  const long rows = std::min(N, kRows);
  const auto panel_bytes = static_cast<std::size_t>(w.cols * kPanelRows) * sizeof(float);
  if (!reserve(&packed_, layout.total) || !reserve(&prepared_, ops::GemmInput::bytes(layout, rows, rounding) + 64) ||
      (pairs && !reserve(&panels_, panel_bytes * static_cast<std::size_t>(effort_.threads)))) {
    return Result::error(Status::kMemory, "Cannot allocate memory for a product of the quantiser");
  }
  const PackedMatrix matrix{layout, packed_.data()};
  parallel(effort_.threads, [&](int index, int count) {
    const Share panels = share_of(layout.panels, index, count);
    for (long p = panels.begin; p < panels.end; ++p) {
      std::byte* const to = packed_.data() + static_cast<std::size_t>(p) * layout.panel_stride;
      std::byte* const panel = pairs ? panels_.data() + static_cast<std::size_t>(index) * panel_bytes : to;
      const long first = p * kPanelRows, lanes = std::min(kPanelRows, w.rows - first);
      if (lanes < kPanelRows) std::memset(panel, 0, panel_bytes);
      pack_f32(w, first, lanes, reinterpret_cast<float*>(panel));
      if (pairs) pair_panel(reinterpret_cast<const float*>(panel), w.cols, to);
    }
  });
  for (long n = 0; n < N; n += rows) {
    const long take = std::min(rows, N - n);
    ops::GemmInput input = ops::GemmInput::place(layout, take, rounding, prepared_.data());
    parallel(effort_.threads, [&](int index, int count) {
      const Share mine = share_of(take, index, count);
      if (mine.begin < mine.end) {
        ops::gemm_prepare({x + n * x_stride, DType::kF32, x_stride, &layout, &input, mine.begin, mine.end},
                          effort_.level);
      }
    });
    parallel(effort_.threads, [&](int index, int count) {
      const Share panels = share_of(layout.panels, index, count);
      ops::gemm({&matrix, &input, nullptr, out + n * out_stride, out_stride, panels.begin, panels.end, true},
                effort_.level);
    });
  }
  return {};
}

}  // namespace outrider::quantize
