// Shared by the files that implement Forward: a chunk of rows on its way through the layers.
#pragma once

#include <algorithm>
#include <vector>

#include "base/thread_pool.h"
#include "model/decoder.h"

namespace outrider {

// What each slot of the workspace holds.
enum Slot : int {
  kSlotX,
  kSlotNormed,
  kSlotQ,
  kSlotK,
  kSlotV,
  kSlotAttention,
  kSlotBranch,
  kSlotGate,
  kSlotUp,
  kSlotCos,
  kSlotSin,
  kSlotAttentionWork,
  kSlotPaths,
  kSlotLogits,
  kSlotSampleLogits,
  kSlotSampleScratch,
  kSlotTopk,
  kSlotPrepared  // and the two after it: up to three weight layouts side by side
};

// Consecutive rows of a chunk that belong to one sequence.
struct Forward::Run {
  long sequence, begin, end;
};

struct Forward::Chunk {
  long first = 0, n = 0;  // batch rows [first, first + n)
  float* x = nullptr;     // residual stream [n, hidden]
  std::vector<Run> runs;
};

// Splits rows over threads when there are enough of them to pay for the hand-over.
template <typename F>
void for_rows(long n, int threads, F&& body) {
  if (n < 8 || threads == 1) {
    body(0L, n);
    return;
  }
  parallel(threads, [&](int index, int count) {
    const Share share = share_of(n, index, count);
    if (share.begin < share.end) body(share.begin, share.end);
  });
}

inline Result out_of_memory() { return Result::error(Status::kMemory, "Cannot allocate scratch memory for a step"); }

}  // namespace outrider
