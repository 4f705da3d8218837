// Softmax over rows, with the optional scale and soft cap of attention scores and logits.
//
//   out[n,k] = exp(s[n,k] - max_j s[n,j]) / sum_j exp(s[n,j] - max_j s[n,j]),   s = cap(scale * x)
//   cap(s) = s, or soft_cap * tanh(s / soft_cap)
//
// -inf inputs give exactly 0; a NaN or +inf anywhere, or nothing but -inf, gives a row of NaN. Dims: N rows, K columns.
#pragma once

#include "cpu/level.h"

namespace outrider::ops {

struct SoftmaxArgs {
  const float* x;  // [N, K]
  float* out;      // [N, K]; may be x
  long N, K;
  float scale;     // 1: none
  float soft_cap;  // 0: off
};

// Shapes are preconditions. Reentrant. A row's result depends on that row alone.
void softmax(const SoftmaxArgs& args, Level level);
unsigned softmax_levels();

}  // namespace outrider::ops

namespace outrider::ref {
void softmax(const ops::SoftmaxArgs& args);
}
namespace outrider::avx2 {
void softmax(const ops::SoftmaxArgs& args);
}
namespace outrider::avx512f {
void softmax(const ops::SoftmaxArgs& args);
}
