// Grids of affine quantisation: scale and zero from ranges, and rounding to them.
//
// A weight is  scale * q + zero  with q in [low, high] = [-2^(bits-1), 2^(bits-1) - 1], zero a real offset. A grid
// holds scale and zero of M rows in G groups of inputs. Source: decoupleQ (arXiv:2404.12759), equation 2, and
// section 3.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"

namespace outrider::quantize {

struct Shape {
  long M = 0, d = 0, group = 0, G = 0;  // outputs, inputs, inputs per group, groups
  int bits = 2;
  bool symmetric = false;  // zero is 0
  [[nodiscard]] int low() const { return -(1 << (bits - 1)); }
  [[nodiscard]] int high() const { return (1 << (bits - 1)) - 1; }
  [[nodiscard]] long group_end(long g) const { return (g + 1) * group < d ? (g + 1) * group : d; }
};

// Of a matrix [M, d]; groups wider than it are as wide as it.
inline Shape shape_of(long M, long d, int bits, long group) {
  const long width = group < d ? group : d;
  return {M, d, width, (d + width - 1) / width, bits, false};
}

struct Grid {
  std::vector<float> scale, zero;  // [M, G]
};

// A matrix as files hold it.
struct StoredMatrix {
  Shape shape;
  std::vector<std::int8_t> q;  // [M, d] of -2^(bits-1)..
  Grid grid;                   // f16 numbers; zeros of unsigned codes
};

// body(m, g) for every group of every row, rows split over threads.
template <typename Body>
void over_groups(const Shape& shape, int threads, const Body& body) {
  parallel(threads, [&](int index, int count) {
    const Share rows = share_of(shape.M, index, count);
    for (long m = rows.begin; m < rows.end; ++m) {
      for (long g = 0; g < shape.G; ++g) body(m, g);
    }
  });
}

// The nearest level, ties upwards, the lowest for NaN; a scale too small to divide by counts as 1e-15 with its sign.
// Without a branch or std::floor, which is a call, so that compilers make vectors of loops over it.
inline int nearest(float w, float scale, float zero, int low, int high) {
  const float divisor = std::fabs(scale) < 1e-15f ? (scale < 0 ? -1e-15f : 1e-15f) : scale;
  const auto least = static_cast<float>(low), most = static_cast<float>(high);
  float q = (w - zero) / divisor + 0.5f;
  q = q > least ? q : least;
  q = q < most ? q : most;
  const int code = static_cast<int>(q);
  return code - (static_cast<float>(code) > q ? 1 : 0);
}

// Smallest and largest weight of each group, widened to hold 0; [-1, 1] if both are 0. [M, G] each.
struct Ranges {
  std::vector<float> low, high;
};
Ranges ranges_of(const float* W, const Shape& shape, int threads);

// The grid that spans part[row] of each range.
void spanning_grid(const Ranges& ranges, const Shape& shape, const std::vector<float>& part, Grid* grid);

// What files hold: f16 scales, and zeros that are f16 numbers for unsigned codes u = q - low, w = scale u + zero.
// kUnsupported for numbers beyond f16.
Result to_f16(const Shape& shape, Grid* grid);
// Zeros for unsigned codes in place of those for signed ones.
void to_unsigned(const Shape& shape, Grid* grid);

// Every weight to its nearest level. q: [M, d].
void round_to_grid(const float* W, const Shape& shape, const Grid& grid, int threads, std::int8_t* q);

// Rounding to nearest on grids that span each group, and nothing else.
Result round_whole(const float* W, const Shape& shape, int threads, StoredMatrix* out);

}  // namespace outrider::quantize
