#include "ops/embedding/embedding.h"

namespace outrider::ref {

void embedding(const ops::EmbeddingArgs& args) {
  for (long n = 0; n < args.N; ++n) {
    float* out = args.out + n * args.out_stride;
    unpack_row(*args.table, args.tokens[n], out);
    if (args.scale == 1.0f) continue;
    for (long k = 0; k < args.table->layout.cols; ++k) out[k] *= args.scale;
  }
}

}  // namespace outrider::ref
