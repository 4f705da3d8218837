// A token on its way through the filters of sample().
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace outrider::ops {

struct Candidate {
  double logit;  // after temperature
  std::int32_t id;
  double probability;
  double distance;  // of its surprise from the entropy; typical_p only
};

// exp(logit - largest) normalised over the first n candidates. They need not be sorted.
inline void normalise(Candidate* c, long n) {
  double largest = -INFINITY, total = 0;
  for (long i = 0; i < n; ++i) largest = std::max(largest, c[i].logit);
  for (long i = 0; i < n; ++i) total += c[i].probability = std::exp(c[i].logit - largest);
  for (long i = 0; i < n; ++i) c[i].probability /= total;
}

}  // namespace outrider::ops
