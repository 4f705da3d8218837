#include "quantize/grid.h"

#include <algorithm>
#include <string>

#include "base/half.h"

namespace outrider::quantize {

Ranges ranges_of(const float* W, const Shape& s, int threads) {
  const auto size = static_cast<std::size_t>(s.M * s.G);
  Ranges ranges{std::vector<float>(size), std::vector<float>(size)};
  parallel(threads, [&](int index, int count) {
    const Share rows = share_of(s.M, index, count);
    for (long m = rows.begin; m < rows.end; ++m) {
      for (long g = 0; g < s.G; ++g) {
        float low = 0, high = 0;
        for (long k = g * s.group; k < s.group_end(g); ++k) {
          low = std::min(low, W[m * s.d + k]);
          high = std::max(high, W[m * s.d + k]);
        }
        if (low == 0 && high == 0) {
          low = -1;
          high = 1;
        }
        if (s.symmetric) {
          high = std::max(-low, high);
          if (low < 0) low = -high;
        }
        ranges.low[static_cast<std::size_t>(m * s.G + g)] = low;
        ranges.high[static_cast<std::size_t>(m * s.G + g)] = high;
      }
    }
  });
  return ranges;
}

void spanning_grid(const Ranges& ranges, const Shape& s, const std::vector<float>& part, Grid* grid) {
  const auto size = static_cast<std::size_t>(s.M * s.G);
  grid->scale.resize(size);
  grid->zero.resize(size);
  const auto steps = static_cast<float>(s.high() - s.low());
  for (std::size_t i = 0; i < size; ++i) {
    const float p = part[i / static_cast<std::size_t>(s.G)];
    const float low = p * ranges.low[i], high = p * ranges.high[i];
    grid->scale[i] = (high - low) / steps;
    grid->zero[i] = s.symmetric ? 0.0f : low - grid->scale[i] * static_cast<float>(s.low());
  }
}

Result to_f16(const Shape& s, Grid* grid) {
  const auto low = static_cast<float>(s.low());
  for (std::size_t i = 0; i < grid->scale.size(); ++i) {
    const float scale = f16_to_f32(f32_to_f16(grid->scale[i]));
    const float zero = f16_to_f32(f32_to_f16(grid->zero[i] + low * scale));
    if (!std::isfinite(scale) || !std::isfinite(zero)) {
      return Result::error(
          Status::kUnsupported,
          "Expected weights whose scales and zeros fit f16, received a scale of " + std::to_string(grid->scale[i]));
    }
    grid->scale[i] = scale;
    grid->zero[i] = zero - low * scale;
  }
  return {};
}

void to_unsigned(const Shape& s, Grid* grid) {
  for (std::size_t i = 0; i < grid->zero.size(); ++i) grid->zero[i] += static_cast<float>(s.low()) * grid->scale[i];
}

void round_to_grid(const float* W, const Shape& s, const Grid& grid, int threads, std::int8_t* q) {
  over_groups(s, threads, [&](long m, long g) {
    const auto at = static_cast<std::size_t>(m * s.G + g);
    const float scale = grid.scale[at], zero = grid.zero[at];
    // Copies: for all the compiler knows, codes of one byte may be part of anything.
    const int low = s.low(), high = s.high();
    const long begin = m * s.d + g * s.group, end = m * s.d + s.group_end(g);
    for (long i = begin; i < end; ++i) q[i] = static_cast<std::int8_t>(nearest(W[i], scale, zero, low, high));
  });
}

Result round_whole(const float* W, const Shape& shape, int threads, StoredMatrix* out) {
  out->shape = shape;
  const std::vector<float> whole(static_cast<std::size_t>(shape.M), 1.0f);
  spanning_grid(ranges_of(W, shape, threads), shape, whole, &out->grid);
  if (Result done = to_f16(shape, &out->grid); !done.ok()) return done;
  out->q.resize(static_cast<std::size_t>(shape.M * shape.d));
  round_to_grid(W, shape, out->grid, threads, out->q.data());
  to_unsigned(shape, &out->grid);
  return {};
}

}  // namespace outrider::quantize
