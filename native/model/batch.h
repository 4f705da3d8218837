// The engine batch: one structure for prefill, decode, tree evaluation, self-drafting rows and serving.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/buffer.h"
#include "cpu/level.h"
#include "model/repetition.h"
#include "model/sequence.h"
#include "model/stopping_head.h"
#include "ops/sample/accept.h"

namespace outrider {

// What a row is evaluated for; a row may want several.
enum Want : std::uint8_t {
  kWantLogits = 1,   // the whole row of logits
  kWantTopk = 2,     // the k best logits, and logsumexp
  kWantTarget = 4,   // log-probability of a given token
  kWantSample = 8,   // a token drawn by the sequence's sampler
  kWantHidden = 16,  // the residual stream after the last layer that ran, before the final norm
  kWantBest = 32,    // the ids of the best_k largest logits
  kWantDraws = 64,   // the first draws_k tokens of the order in which the sequence's sampler draws (ops/sample)
};

// Sampling state of one sequence. Parameters are fixed; the history grows with committed tokens: those a batch appends
// and those of a tree that Sequence::commit keeps.
struct Sampler {
  long vocab = 0;  // of the model it draws for
  ops::SampleParams params;
  std::vector<std::int32_t> history;  // tokens the penalties see
  long penalty_window = 0;            // last tokens of the history that count; 0: all
  std::vector<std::int32_t> bias_ids;
  std::vector<float> bias;
  std::vector<std::int32_t> suppressed;        // at every position
  std::vector<std::int32_t> suppressed_early;  // before min_position: stop tokens until minTokens
  long min_position = 0;
  ops::AcceptParams accept;  // what a walk takes of its tree though it was not drawn; by default nothing
  CopySource source;         // of what a batch that copies drafted last; says what is drafted, never what is drawn

  std::atomic<bool> busy{false};  // a job has it: like the sequence it draws for
};

struct Batch {
  std::vector<std::shared_ptr<Sequence>> sequences;
  std::vector<std::shared_ptr<Sampler>> samplers;  // per sequence, or null
  // Rows. Without scratch the rows of a sequence are consecutive tokens that are appended to it. With scratch they are
  // tree nodes: parent[i] is an earlier row of the same sequence or -1 for a child of the last committed token.
  std::vector<std::int32_t> token;
  std::vector<float> embeddings;  // [rows, hidden]; instead of tokens if not empty
  // Instead of tokens if not empty: several tokens for each row, whose embeddings are added with these weights.
  std::vector<std::int32_t> mix;   // [rows, J], J up to kMostMixed
  std::vector<float> mix_weights;  // [rows, J]; a weight of 0 leaves a token out
  std::vector<std::int32_t> sequence;
  std::vector<std::int32_t> parent;  // scratch only
  std::vector<std::uint8_t> wants;
  std::vector<std::int32_t> target;  // rows with kWantTarget; empty if none
  bool scratch = false;
  // Scratch alone: the rows go on from those of the last scratch call of each sequence, which must not have changed
  // since. Parents are then slots: slot s of a sequence is the s-th of all its rows since the call that did not go on,
  // and the rows of this call take the slots after those that are there.
  bool continues = false;
  // Trees alone: verify and commit in the same step. Rows of a sequence are consecutive, the first is the root, and
  // every row wants a token. From the root on, the walk draws the token that the
  // sequence's sampler draws there and goes to the first child that has it, until none has, or it is one of `ends`. The
  // rows of the walk are appended to the sequence. Draws depend on seed and position alone, so that what is said does
  // not depend on the tree, unless the sampler has a rule to accept tokens by. Then a row none of whose children has
  // the token drawn says the likeliest child that the rule accepts, if there is one, and the walk goes there; an end
  // token that was drawn stays. Only rows of the walk give what they want, but for kWantBest.
  bool verify = false;
  // Plain decoding without a way back to the caller for every token: up to `repeat` times the token drawn for the last
  // row is appended and the next one drawn with the same wants, until one of `ends` is drawn or the context is full.
  // Only for one sequence whose last row alone wants anything, a token and perhaps the best.
  long repeat = 1;
  std::vector<std::int32_t> ends;
  // A batch that repeats also ends when the probabilities of its tokens, multiplied, fall below this; only if the last
  // row wants the top ones, which its tokens' probabilities come with. 0: never.
  double least_confidence = 0;
  // It also ends when 1 - the product of what this head says of its tokens is above stop_at. The token that was drawn
  // then is kept: what is said of it was known before. Null: none.
  std::shared_ptr<const StoppingHead> stop;
  double stop_at = 1;
  // A batch that verifies one root of one sequence may draft by itself and repeat, its draft verified like that of a
  // caller: where the last m tokens occurred before, the copies[m] that came after them there, and copies[0] behind
  // tokens that were others than those of the source of the last copy. -1: a repetition does not count, or nothing is
  // copied behind such tokens; 0: what would come is noted in the output and not drafted. Empty: nothing is drafted. At
  // most kLongestRun + 1 entries; the last is for longer runs too.
  std::vector<std::int32_t> copies;
  // Of a batch that copies: tokens that it draws at most, and seconds after which it takes no other step.
  long most_tokens = 0;
  double most_seconds = 0;
  long top_k = 0;
  long best_k = 0;
  long draws_k = 0;
  // Layers [layer_begin, layer_end); the head runs only if layer_end is the last layer. Skipped parts leave the
  // residual stream as it is; a skipped attention writes no keys.
  long layer_begin = 0, layer_end = 0;
  std::vector<std::uint8_t> skip_attention, skip_mlp;  // per layer, or empty
  bool rounded = false;  // activations are rounded to what each weight format multiplies fastest (gemm.h)
  int threads = 1;
  Level level = Level::kRef;  // kernels to use; fixed per model, so that a row always has the same bits

  [[nodiscard]] long rows() const { return static_cast<long>(sequence.size()); }
};

// Results in the order of the rows that wanted each. Forward::begin() makes the room.
struct BatchOutput {
  Column<float> logits;           // [rows wanting logits, V]
  Column<float> hidden;           // [rows wanting hidden, hidden]
  Column<std::int32_t> topk_ids;  // [rows wanting topk, k]
  Column<float> topk_values;      // [rows wanting topk, k]
  Column<float> logsumexp;        // [rows wanting topk]
  Column<float> target_logprob;   // [rows wanting target]
  Column<std::int32_t> sampled;   // [rows wanting sample]
  Column<float> sampled_logprob;  // [rows wanting sample], under the raw logits
  Column<float> acceptance;       // [rows wanting sample], of a batch with a stopping head
  Column<std::int32_t> best_ids;  // [rows wanting best, best_k]
  Column<std::int32_t> draw_ids;  // [rows wanting draws, draws_k]; -1 where fewer tokens can be drawn
  Column<double> draw_logq;       // [rows wanting draws, draws_k]
  Column<double> draw_values;     // [rows wanting draws, draws_k]
  Column<std::int32_t> walk;      // rows of the walks, in the order of the tokens drawn; verify without copies only
  Column<std::int32_t> walked;    // [sequences] rows of each walk; the same
  Column<std::uint8_t> by_rule;   // [sampled] 1: accepted and not drawn; verify with a rule only
  // Of a batch that copies, for each of its steps, or several in a row that proposed nothing: tokens drawn, tokens that
  // came after the repetition and are in `proposed`, how many of those were drafted, tokens that the repetition has,
  // and seconds.
  Column<double> steps;           // [steps, 5]
  Column<std::int32_t> proposed;  // of all steps
  std::size_t scratch_bytes = 0;  // largest workspace used
  double kernel_seconds = 0;      // in layers and head, the rest of the time is preparation and sampling
};

}  // namespace outrider
