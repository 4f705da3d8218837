// Embedding lookup from packed weights of any format, and mixes of rows (superposed decoding, arXiv:2405.18400).
//
//   out[n,:] = scale * w[token[n],:]                            without weights
//   out[n,:] = scale * sum_j weight[n,j] * w[token[n,j],:]      with weights, summed in the order of j
//
// Dims: N rows, J tokens mixed in each, V rows of the table, K channels. Bandwidth of one row per token: there is
// nothing for vectors to win, so the scalar version serves every level and gives the same bits on all of them.
// Tokens of weight 0 are not read, and a lone token of weight 1 has the bits it has without weights.
#pragma once

#include <cstdint>

#include "cpu/level.h"
#include "formats/packed.h"

namespace outrider::ops {

struct EmbeddingArgs {
  const PackedMatrix* table;   // [V, K]
  const std::int32_t* tokens;  // [N, J], each in [0, V)
  long N;
  float scale;  // multiplies every value; 1 for most families
  float* out;   // [N, K], rows out_stride apart
  long out_stride;
  const float* weights = nullptr;  // [N, J]; null: J is 1 and rows are taken as they are
  long J = 1;
  float* scratch = nullptr;  // [K], with weights alone
};

// Token range is a precondition. Reentrant.
void embedding(const EmbeddingArgs& args, Level level);
unsigned embedding_levels();

}  // namespace outrider::ops

namespace outrider::ref {
void embedding(const ops::EmbeddingArgs& args);
}
