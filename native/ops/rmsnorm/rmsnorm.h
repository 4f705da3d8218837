// Root-mean-square layer normalisation.
//
//   out[n,k] = x[n,k] / sqrt(mean_j x[n,j]^2 + eps) * weight[k]
//
// Source: arXiv:1910.07467, equation 4, with eps inside the root as decoder implementations have it.
// Dims:   N rows, K channels.
#pragma once

#include "cpu/level.h"

namespace outrider::ops {

struct RmsnormArgs {
  const float* x;       // [N, K], rows x_stride apart
  const float* weight;  // [K]; null: all ones
  float* out;           // [N, K], rows out_stride apart; may be x
  long N, K;
  long x_stride, out_stride;  // in elements
  float eps;
};

// Shapes are preconditions. Reentrant. A row's result depends on that row alone.
// Cost: 3 N K flops; x is read twice, the second time from cache.
void rmsnorm(const RmsnormArgs& args, Level level);
unsigned rmsnorm_levels();

}  // namespace outrider::ops

namespace outrider::ref {
void rmsnorm(const ops::RmsnormArgs& args);
}
namespace outrider::avx2 {
void rmsnorm(const ops::RmsnormArgs& args);
}
namespace outrider::avx512f {
void rmsnorm(const ops::RmsnormArgs& args);
}
