#include "quantize/product.h"

#include <algorithm>
#include <cstring>

#include "base/half.h"
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

// Inputs that are rounded at a time.
constexpr long kStretch = 256;

void round_to(const float* from, long count, bf16* to) {
  for (long i = 0; i < count; ++i) to[i] = f32_to_bf16(from[i]);
}

// Pairs of inputs side by side, and 16 values of the last one of an odd number.
void pack_bf16(const View& w, long first, long count, bf16* panel) {
  const long pairs = w.cols / 2;
  bf16 values[2 * kStretch];
  if (w.transposed) {
    bf16 *const even = values, *const odd = values + kPanelRows;
    for (long k = 0; k < pairs; ++k) {
      round_to(w.data + 2 * k * w.stride + first, count, even);
      round_to(w.data + (2 * k + 1) * w.stride + first, count, odd);
      bf16* const to = panel + 2 * k * kPanelRows;
      for (long r = 0; r < count; ++r) {
        to[2 * r] = even[r];
        to[2 * r + 1] = odd[r];
      }
    }
    if (w.cols % 2 != 0) round_to(w.data + 2 * pairs * w.stride + first, count, panel + 2 * pairs * kPanelRows);
    return;
  }
  for (long r = 0; r < count; ++r) {
    const float* const row = w.data + (first + r) * w.stride;
    for (long k = 0; k < pairs; k += kStretch) {
      const long take = std::min(kStretch, pairs - k);
      round_to(row + 2 * k, 2 * take, values);
      bf16* const to = panel + (k * kPanelRows + r) * 2;
      for (long i = 0; i < take; ++i) std::memcpy(to + i * 2 * kPanelRows, values + 2 * i, 2 * sizeof(bf16));
    }
    if (w.cols % 2 != 0) panel[2 * pairs * kPanelRows + r] = f32_to_bf16(row[w.cols - 1]);
  }
}

void pack(const View& w, const PackedLayout& layout, long index, std::byte* panel) {
  const long first = index * kPanelRows, count = std::min(kPanelRows, w.rows - first);
  if (count < kPanelRows) std::memset(panel, 0, layout.panel_stride);
  if (layout.format == WeightFormat::kBF16) {
    pack_bf16(w, first, count, reinterpret_cast<bf16*>(panel));
  } else {
    pack_f32(w, first, count, reinterpret_cast<float*>(panel));
  }
}

}  // namespace

Result Product::multiply(const float* x, long N, long x_stride, const View& w, float* out, long out_stride,
                         Factors factors) {
  const bool pairs = factors == Factors::kBF16 && effort_.level >= Level::kAvx512;
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
      pack(w, layout, p, packed_.data() + static_cast<std::size_t>(p) * layout.panel_stride);
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
