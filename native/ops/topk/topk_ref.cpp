#include <cmath>

#include "ops/topk/topk.h"

namespace outrider::ref {

// Insertion into a sorted list: quadratic in k at worst, one comparison per entry once the list is good.
void topk(const ops::TopkArgs& args) {
  for (long n = 0; n < args.N; ++n) {
    const float* x = args.x + n * args.x_stride;
    std::int32_t* ids = args.ids + n * args.k;
    float* values = args.values + n * args.k;
    long count = 0;
    double largest = -INFINITY;
    for (long v = 0; v < args.V; ++v) {
      const float value = std::isnan(x[v]) ? -INFINITY : x[v];
      largest = std::fmax(largest, x[v]);
      if (count == args.k && !(value > values[count - 1])) continue;
      long at = count < args.k ? count++ : count - 1;
      for (; at > 0 && values[at - 1] < value; --at) {
        values[at] = values[at - 1];
        ids[at] = ids[at - 1];
      }
      values[at] = value;
      ids[at] = static_cast<std::int32_t>(v);
    }
    if (args.logsumexp == nullptr) continue;
    double total = 0;
    for (long v = 0; v < args.V; ++v) total += std::exp(x[v] - largest);
    args.logsumexp[n] = static_cast<float>(largest + std::log(total));
  }
}

}  // namespace outrider::ref
