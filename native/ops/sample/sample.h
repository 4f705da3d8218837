// One token from one row of logits: the whole sampler as a pure function.
//
// In this order, each stage seeing what the one before left:
//   1. penalties over the window of history tokens: a token seen c > 0 times has its logit l replaced by
//      (l > 0 ? l / repetition : l * repetition) - c * frequency - presence              (arXiv:1909.05858 for
//      repetition)
//   2. bias: l += bias[token]; suppressed tokens are removed
//   3. temperature: l / temperature; 0 means greedy: the largest logit of stage 2, ties to the lowest id
//   4. top_k: the k largest
//   5. typical_p: the smallest set of tokens closest to the entropy with that mass            (arXiv:2202.00666)
//   6. top_p: the smallest set of most likely tokens with that mass                           (arXiv:1904.09751)
//   7. min_p: tokens at least min_p times as likely as the likeliest                          (arXiv:2407.01082)
//   8. draw: argmax over the survivors of l + g, g = -log(-log u), u = hash(seed, position, token)   (Gumbel-max)
// Masses of stages 5 and 6 are relative to what entered the stage. Ties rank the lowest id first.
//
// The largest of l + g in falling order are a draw without replacement from the law of the survivors (Gumbel-top-k,
// arXiv:1903.06059), and the first of them is what stage 8 draws: `draws` of them are given if asked for. A greedy row
// (temperature 0 or top_k 1) gives the largest logits of stage 2 without noise, with the law that these have at
// temperature 1.
//
// The noise depends on (seed, position, token) alone, so a seeded text is a function of prompt and seed, whatever
// drafts, batches or threads are used (shared-noise coupling). What decides is computed in double and in one order: the
// token is the same on every level. Vectors only find the tokens that are worth it (scan.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"
#include "cpu/level.h"

namespace outrider::ops {

struct SampleParams {
  float temperature = 0;   // >= 0
  std::int32_t top_k = 0;  // 0: off
  float top_p = 1;         // (0, 1]; 1: off
  float min_p = 0;         // [0, 1]; 0: off
  float typical_p = 1;     // (0, 1]; 1: off
  float repetition = 1;    // > 0; 1: off
  float frequency = 0;
  float presence = 0;
  std::uint64_t seed = 0;
};

struct SampleArgs {
  SampleParams params;
  float* logits;  // [V]; overwritten with stage 2
  long V;
  std::uint64_t position;       // absolute position of the token drawn
  const std::int32_t* history;  // tokens the penalties count, ids outside [0, V) ignored
  long history_count;
  const std::int32_t* bias_ids;  // distinct, in [0, V)
  const float* bias;
  long bias_count;
  const std::int32_t* suppressed;  // in [0, V)
  long suppressed_count;
  std::byte* scratch;   // sample_scratch_bytes(V)
  std::int32_t token;   // out
  bool law = false;     // the law is asked for
  long candidates = 0;  // out: if so, tokens of the law that the draw was from, at the start of scratch; 0 if greedy
  // Out, [draws] each: the first of the order, their log-probabilities log q, and log q + g. Where fewer tokens can be
  // drawn the rest is -1, -infinity and -infinity.
  long draws = 0;
  std::int32_t* draw_ids = nullptr;
  double* draw_logq = nullptr;
  double* draw_values = nullptr;
};

std::size_t sample_scratch_bytes(long V);

// kArgument if no token has a finite logit. Reentrant with separate scratch.
// Cost: two or three passes over V, and sorting as many candidates as top_k, top_p and typical_p keep.
[[nodiscard]] Status sample(SampleArgs& args, Level level);

// The uniform of (seed, position, token): (x + 1/2) / 2^32 with x a 32-bit hash. Its Gumbel value lies in
// (-3.15, 22.88).
double sample_uniform(std::uint64_t seed, std::uint64_t position, std::uint32_t token);

}  // namespace outrider::ops
