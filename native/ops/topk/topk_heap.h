// The k best (value, id) pairs of a stream with ascending ids, in the caller's arrays: a heap whose root is the worst
// one kept.
#pragma once

#include <cstdint>
#include <utility>

namespace outrider::ops {

struct TopkHeap {
  float* values;
  std::int32_t* ids;
  long k;
  long count = 0;

  // Ranks behind: smaller, or equal with a higher id.
  [[nodiscard]] bool worse(long a, long b) const {
    return values[a] < values[b] || (values[a] == values[b] && ids[a] > ids[b]);
  }

  void exchange(long a, long b) {
    std::swap(values[a], values[b]);
    std::swap(ids[a], ids[b]);
  }

  void sift_down(long at, long end) {
    for (long child = 2 * at + 1; child < end; at = child, child = 2 * at + 1) {
      if (child + 1 < end && worse(child + 1, child)) ++child;
      if (!worse(child, at)) return;
      exchange(child, at);
    }
  }

  // True if a value must be pushed to be considered. An equal value comes later, so it ranks behind.
  [[nodiscard]] bool takes(float value) const { return count < k || value > values[0]; }

  void push(float value, std::int32_t id) {
    if (count < k) {
      long at = count++;
      values[at] = value;
      ids[at] = id;
      for (; at > 0 && worse(at, (at - 1) / 2); at = (at - 1) / 2) exchange(at, (at - 1) / 2);
    } else if (value > values[0]) {
      values[0] = value;
      ids[0] = id;
      sift_down(0, k);
    }
  }

  // Sorts the pairs, best first.
  void finish() {
    for (long end = count - 1; end > 0; --end) {
      exchange(0, end);
      sift_down(0, end);
    }
  }
};

}  // namespace outrider::ops
