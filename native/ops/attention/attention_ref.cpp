#include <cmath>

#include "ops/attention/attention.h"

namespace outrider::ref {
namespace {

// Page and slot that hold absolute position j as row n sees it.
struct Place {
  const std::byte* page;
  long slot;
};

Place place_of(const ops::AttentionArgs& args, long n, long j, long g) {
  long slot = j;
  const std::byte* const* pages = args.pages;
  if (j >= args.prefix) {
    slot = args.path[n * args.path_stride + (j - args.prefix)];
    pages = args.scratch;
  }
  return {pages[slot / kPageTokens] + static_cast<std::size_t>(g) * args.head_bytes, slot % kPageTokens};
}

}  // namespace

void attention(const ops::AttentionArgs& args) {
  const long D = args.D, per_group = args.H / args.G;
  double sums[ops::kMaxHeadDim];
  for (long query = args.query_begin; query < args.query_end; ++query) {
    const long n = query / per_group, last = args.position[n];
    const long first = args.window > 0 && last - args.window + 1 > 0 ? last - args.window + 1 : 0;
    for (long g = args.g_begin; g < args.g_end; ++g) {
      const long h = g * per_group + query % per_group;
      const float* q = args.q + n * args.q_stride + h * D;
      double largest = -INFINITY, total = 0;
      for (long d = 0; d < D; ++d) sums[d] = 0;
      for (long j = first; j <= last; ++j) {
        const Place at = place_of(args, n, j, g);
        double score = 0;
        for (long d = 0; d < D; ++d) {
          score +=
              static_cast<double>(q[d]) * load_float(at.page, args.kv_type, kv_key_index(args.kv_type, D, d, at.slot));
        }
        score *= args.scale;
        if (args.soft_cap > 0) score = args.soft_cap * std::tanh(score / args.soft_cap);
        if (score > largest) {  // rescale what was summed so far
          const double keep = std::exp(largest - score);
          total *= keep;
          for (long d = 0; d < D; ++d) sums[d] *= keep;
          largest = score;
        }
        const double weight = std::exp(score - largest);
        total += weight;
        for (long d = 0; d < D; ++d) {
          sums[d] += weight * load_float(at.page, args.kv_type, kv_value_index(args.kv_type, D, at.slot, d));
        }
      }
      float* out = args.out + n * args.out_stride + h * D;
      for (long d = 0; d < D; ++d) out[d] = static_cast<float>(sums[d] / total);
    }
  }
}

}  // namespace outrider::ref
