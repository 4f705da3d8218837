// Embedding lookup from packed weights of any format.
//
//   out[n,:] = scale * w[token[n],:]
//
// Dims: N tokens, V rows of the table, K channels. Bandwidth of one row per token: there is nothing for vectors to win,
// so the scalar version serves every level and gives the same bits on all of them.
#pragma once

#include <cstdint>

#include "cpu/level.h"
#include "formats/packed.h"

namespace outrider::ops {

struct EmbeddingArgs {
  const PackedMatrix* table;   // [V, K]
  const std::int32_t* tokens;  // [N], each in [0, V)
  long N;
  float scale;  // multiplies every value; 1 for most families
  float* out;   // [N, K], rows out_stride apart
  long out_stride;
};

// Token range is a precondition. Reentrant.
void embedding(const EmbeddingArgs& args, Level level);
unsigned embedding_levels();

}  // namespace outrider::ops

namespace outrider::ref {
void embedding(const ops::EmbeddingArgs& args);
}
