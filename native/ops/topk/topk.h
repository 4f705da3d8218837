// The best entries of rows of logits, with the normaliser that turns logits into log-probabilities.
//
//   ids[n,:], values[n,:]: the k largest entries in descending order; of equal entries the lowest index comes first
//   logsumexp[n] = log sum_j exp(x[n,j])
//
// A NaN never ranks above a number. With k = 1 this is argmax. Dims: N rows, V entries, k <= V.
#pragma once

#include <cstdint>

#include "cpu/level.h"

namespace outrider::ops {

struct TopkArgs {
  const float* x;  // [N, V], rows x_stride apart
  long N, V, x_stride, k;
  std::int32_t* ids;  // [N, k]
  float* values;      // [N, k]
  float* logsumexp;   // [N]; null: not wanted
};

// Shapes are preconditions. Reentrant. Cost: O(V log k) at worst, one pass of comparisons on usual data; one pass for
// the sum.
void topk(const TopkArgs& args, Level level);
unsigned topk_levels();

}  // namespace outrider::ops

namespace outrider::ref {
void topk(const ops::TopkArgs& args);
}
namespace outrider::avx2 {
void topk(const ops::TopkArgs& args);
}
namespace outrider::avx512f {
void topk(const ops::TopkArgs& args);
}
