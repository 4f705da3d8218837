#include <algorithm>

#include "ops/embedding/embedding.h"

namespace outrider::ref {
namespace {

// The weighted sum of the tokens of row n.
void mix(const ops::EmbeddingArgs& args, long n, float* out) {
  const long K = args.table->layout.cols;
  bool empty = true;
  for (long j = n * args.J; j < (n + 1) * args.J; ++j) {
    const float weight = args.weights[j];
    if (weight == 0.0f) continue;
    unpack_row(*args.table, args.tokens[j], args.scratch);
    // The first one is no addition: 0 + -0 is not -0.
    for (long k = 0; k < K; ++k) out[k] = empty ? weight * args.scratch[k] : out[k] + weight * args.scratch[k];
    empty = false;
  }
  if (empty) std::fill(out, out + K, 0.0f);
}

}  // namespace

void embedding(const ops::EmbeddingArgs& args) {
  for (long n = 0; n < args.N; ++n) {
    float* out = args.out + n * args.out_stride;
    if (args.weights == nullptr) {
      unpack_row(*args.table, args.tokens[n], out);
    } else {
      mix(args, n, out);
    }
    if (args.scale == 1.0f) continue;
    for (long k = 0; k < args.table->layout.cols; ++k) out[k] *= args.scale;
  }
}

}  // namespace outrider::ref
