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
  kSlotPrepared,
  kSlotAhead,
  kSlotParts,
  kSlotStop,
  kSlots  // at most Workspace::kMostSlots
};

// Consecutive rows of a chunk that belong to one sequence.
struct Run {
  long sequence, begin, end;
};

struct Chunk {
  long first = 0, n = 0;  // batch rows [first, first + n)
  float* x = nullptr;     // residual stream [n, hidden]
  std::vector<Run> runs;
};

inline Result out_of_memory() { return Result::error(Status::kMemory, "Cannot allocate scratch memory for a step"); }

}  // namespace outrider
