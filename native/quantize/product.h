// Products of plain f32 matrices at the speed of the gemm kernels: what the quantiser spends its time in.
#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "base/status.h"
#include "cpu/level.h"

namespace outrider::quantize {

// How work is spread, and what can end it.
struct Effort {
  int threads = 1;
  Level level = Level::kRef;
};

// A row-major matrix in somebody else's memory. `transposed`: entry (r, c) lies at data[c * stride + r].
struct View {
  const float* data;
  long rows, cols;
  long stride;
  bool transposed = false;
};

// What factors are rounded to before they are multiplied. kBF16 is faster, many times in tiles of AMX, and is for
// gradients, which bear errors of 2^-8; it is taken as kF32 on levels that cannot multiply pairs of bf16.
enum class Factors : std::uint8_t { kF32, kBF16 };

// out[n,m] = sum_k x[n,k] w[m,k], with the scratch of earlier products reused. Each k sum runs in order in f32, so it
// is off by at most K 2^-24 of the summed magnitudes (and 2^-7 of them for factors in bf16), and does not depend on
// threads. Factors in bf16 take subnormals for 0, and level avx512-amx sums them in another order, tile by tile.
class Product {
 public:
  explicit Product(const Effort& effort) : effort_(effort) {}
  // x: [N, K], rows x_stride apart; w: M rows, K cols; out: [N, M], rows out_stride apart, must not overlap x or w.
  Result multiply(const float* x, long N, long x_stride, const View& w, float* out, long out_stride,
                  Factors factors = Factors::kF32);
  [[nodiscard]] const Effort& effort() const { return effort_; }

 private:
  Effort effort_;
  Buffer packed_, prepared_;
};

}  // namespace outrider::quantize
