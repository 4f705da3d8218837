#include <cmath>

#include "ops/topk/topk.h"
#include "ops/topk/topk_heap.h"

namespace outrider::ref {

void topk(const ops::TopkArgs& args) {
  for (long n = 0; n < args.N; ++n) {
    const float* x = args.x + n * args.x_stride;
    std::int32_t* ids = args.ids + n * args.k;
    float* values = args.values + n * args.k;
    ops::TopkHeap heap{values, ids, args.k};
    double largest = -INFINITY;
    for (long v = 0; v < args.V; ++v) {
      largest = std::fmax(largest, x[v]);
      heap.push(std::isnan(x[v]) ? -INFINITY : x[v], static_cast<std::int32_t>(v));
    }
    heap.finish();
    if (args.logsumexp == nullptr) continue;
    double total = 0;
    for (long v = 0; v < args.V; ++v) total += std::exp(x[v] - largest);
    args.logsumexp[n] = static_cast<float>(largest + std::log(total));
  }
}

}  // namespace outrider::ref
