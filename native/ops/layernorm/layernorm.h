// Layer normalisation.
//
//   out[n,k] = (x[n,k] - mean) / sqrt(variance + eps) * weight[k] + bias[k]
//
// mean and variance (divided by K) are over the row. Source: arXiv:1607.06450, equation 3.
// Dims: N rows, K channels.
#pragma once

#include "cpu/level.h"

namespace outrider::ops {

struct LayernormArgs {
  const float* x;       // [N, K]
  const float* weight;  // [K]; null: all ones
  const float* bias;    // [K]; null: all zeros
  float* out;           // [N, K]; may be x
  long N, K;
  float eps;
};

// Shapes are preconditions. Reentrant. A row's result depends on that row alone. Cost: 6 N K flops, x is read three
// times.
void layernorm(const LayernormArgs& args, Level level);
unsigned layernorm_levels();

}  // namespace outrider::ops

namespace outrider::ref {
void layernorm(const ops::LayernormArgs& args);
}
namespace outrider::avx2 {
void layernorm(const ops::LayernormArgs& args);
}
namespace outrider::avx512f {
void layernorm(const ops::LayernormArgs& args);
}
