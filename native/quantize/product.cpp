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

// Panel [cols][16] of rows [first, first + 16) of w, zeros past the last one.
void pack(const View& w, long first, float* panel) {
  const long count = std::min(kPanelRows, w.rows - first);
  if (count < kPanelRows) std::memset(panel, 0, static_cast<std::size_t>(w.cols * kPanelRows) * sizeof(float));
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

}  // namespace

Result Product::multiply(const float* x, long N, long x_stride, const View& w, float* out, long out_stride) {
  const PackedLayout layout = packed_layout(WeightFormat::kF32, w.rows, w.cols, 0, false, 0);
  const long rows = std::min(N, kRows);
  if (!reserve(&packed_, layout.total) ||
      !reserve(&prepared_, ops::GemmInput::bytes(layout, rows, ops::Rounding::kNone) + 64)) {
    return Result::error(Status::kMemory, "Cannot allocate memory for a product of the quantiser");
  }
  const PackedMatrix matrix{layout, packed_.data()};
  parallel(effort_.threads, [&](int index, int count) {
    const Share panels = share_of(layout.panels, index, count);
    for (long p = panels.begin; p < panels.end; ++p) {
      pack(w, p * kPanelRows,
           reinterpret_cast<float*>(packed_.data() + static_cast<std::size_t>(p) * layout.panel_stride));
    }
  });
  for (long n = 0; n < N; n += rows) {
    const long take = std::min(rows, N - n);
    ops::GemmInput input = ops::GemmInput::place(layout, take, ops::Rounding::kNone, prepared_.data());
    parallel(effort_.threads, [&](int index, int count) {
      const Share mine = share_of(take, index, count);
      if (mine.begin < mine.end) {
        ops::gemm_prepare({x + n * x_stride, DType::kF32, x_stride, &layout, &input, mine.begin, mine.end},
                          effort_.level);
      }
    });
    parallel(effort_.threads, [&](int index, int count) {
      const Share panels = share_of(layout.panels, index, count);
      ops::gemm({&matrix, &input, nullptr, out + n * out_stride, out_stride, panels.begin, panels.end}, effort_.level);
    });
  }
  return {};
}

}  // namespace outrider::quantize
