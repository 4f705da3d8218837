// Block-wise minimisation: with the codes fixed, scales, zeros and norms of a block are trained until its output is as
// near to that of the original block as they can bring it. Source: decoupleQ (arXiv:2404.12759), section 3.4; the loss
// is block_gradient.h's, the learning rates are relative to the size of what they change.
#pragma once

#include "quantize/block_trainer.h"

namespace outrider::quantize {

struct MinimiseTask {
  long layer = 0;
  const float* x = nullptr;       // [T, hidden]: what goes into the block
  const float* target = nullptr;  // [T, hidden]: what the original block makes of it
  std::vector<long> lengths;      // of the sequences in x
  int epochs = 0;
  double rate =
      0.005;  // of the first step, as a part of the root mean square of a tensor; falls to a tenth by a cosine
  std::uint64_t seed = 0;  // of the order of the sequences
  const std::atomic<bool>* abort = nullptr;
};

struct MinimiseOutcome {
  double before = 0, after = 0;  // mean loss of up to 32 of the sequences
};

// Trains the grids of `parts` and the norms of `weights`, whose matrices become those of the new grids. Everything is
// as before if that does not lower the loss.
Result minimise(const DecoderSpec& spec, const MinimiseTask& task, const std::array<Trainable, kParts>& parts,
                const Effort& effort, BlockWeights* weights, MinimiseOutcome* out);

}  // namespace outrider::quantize
