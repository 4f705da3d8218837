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

// Inputs that are rounded at a time, even.
constexpr long kStretch = 256;

// Inputs [k, k + take) of rows [first, first + count) of w as panels; see formats/packed.h. Lanes past the last one are
// zero already.
void pack_f32(const View& w, long first, long count, long k, long take, float* panel) {
  if (w.transposed) {
    for (long i = 0; i < take; ++i) {
      std::memcpy(panel + i * kPanelRows, w.data + (k + i) * w.stride + first,
                  static_cast<std::size_t>(count) * sizeof(float));
    }
    return;
  }
  for (long r = 0; r < count; ++r) {
    const float* const row = w.data + (first + r) * w.stride + k;
    for (long i = 0; i < take; ++i) panel[i * kPanelRows + r] = row[i];
  }
}

void pack(const View& w, const PackedLayout& layout, long index, Level level, std::byte* panel) {
  const long first = index * kPanelRows, count = std::min(kPanelRows, w.rows - first);
  if (layout.format == WeightFormat::kF32) {
    if (count < kPanelRows) std::memset(panel, 0, layout.panel_stride);
    return pack_f32(w, first, count, 0, w.cols, reinterpret_cast<float*>(panel));
  }
  alignas(64) float values[kStretch * kPanelRows];
  if (count < kPanelRows) std::memset(values, 0, sizeof(values));
  for (long k = 0; k < w.cols; k += kStretch) {
    const long take = std::min(kStretch, w.cols - k);
    pack_f32(w, first, count, k, take, values);
    ops::gemm_pair_panel(values, take, panel + k * kPanelRows * 2, level);
  }
}

}  // namespace

Result Product::multiply(const float* x, long N, long x_stride, const View& w, float* out, long out_stride,
                         Factors factors) {
  const bool pairs = factors == Factors::kBF16 && ops::gemm_has_pairs(effort_.level);
  const WeightFormat format = pairs ? WeightFormat::kBF16 : WeightFormat::kF32;
  const ops::Rounding rounding = ops::rounding_of(format);
  const PackedLayout layout = packed_layout(format, w.rows, w.cols, 0, false, 0);
  const long rows = std::min(N, kRows);
  if (!reserve(&packed_, layout.total) || !reserve(&prepared_, ops::GemmInput::bytes(layout, rows, rounding) + 64)) {
    return Result::error(Status::kMemory, "Cannot allocate memory for a product of the quantiser");
  }
  const PackedMatrix matrix{layout, packed_.data()};
  parallel(effort_.threads, [&](int index, int count) {
    const Share panels = share_of(layout.panels, index, count);
    for (long p = panels.begin; p < panels.end; ++p) {
      pack(w, layout, p, effort_.level, packed_.data() + static_cast<std::size_t>(p) * layout.panel_stride);
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
