// The schedule: blocks in order, and inside a block each set of layers on the outputs of those quantised before it.
//
// The hidden states of all calibration tokens are carried from block to block. Statistics are taken anew before each of
// {q, k, v}, {o}, {gate, up}, {down} ("true sequential"), so later layers can make good what earlier ones lost. Source:
// GPTQ's schedule, as decoupleQ uses it (arXiv:2404.12759, section 4). Those of the original model are carried beside
// them: what decoupleQ aims at, by compensation.h, and what blocks are trained to.
#pragma once

#include <memory>
#include <optional>

#include "quantize/block.h"
#include "quantize/compensation.h"
#include "quantize/minimise.h"
#include "quantize/solver.h"

namespace outrider::quantize {

// What becomes of one matrix.
struct MatrixPlan {
  int bits = 16;  // 16: stays as it is
  long group = 64;
  Method method = Method::kDecoupleq;
  int rounds = 4;
  std::optional<StoredMatrix> earlier;  // from an earlier run; then nothing is solved
  [[nodiscard]] bool solves() const { return bits != 16 && !earlier; }
  // At the original's outputs, where the original is carried along.
  [[nodiscard]] bool aims() const { return solves() && method == Method::kDecoupleq; }
};

struct MatrixOutcome : StoredMatrix {
  double loss = 0;     // tr (w^ - w0) H (w^ - w0)^T over tr w0 H w0^T: the part of the output's energy that is lost
  double rounded = 0;  // the same after rounding to nearest alone
};

// What is done with a whole block.
struct BlockPlan {
  std::array<MatrixPlan, kParts> parts;
  int epochs = 0;       // of block-wise minimisation; 0: none
  double rate = 0.005;  // see MinimiseTask
  std::uint64_t seed = 0;
  // From an earlier run; empty: those of the model. The order of norms_of().
  std::vector<std::vector<float>> norms;
};

struct BlockOutcome {
  std::array<MatrixOutcome, kParts> parts;
  bool minimised = false;  // asked for and built for this family
  MinimiseOutcome error;
  std::vector<std::vector<float>> norms;  // of a minimised block
};

class Calibration {
 public:
  Calibration(DecoderSpec spec, ModelSources sources, const Effort& effort)
      : spec_(std::move(spec)), sources_(std::move(sources)), effort_(effort) {}

  // Opens the files and embeds the tokens; lengths sum to their number. `beside`: whether the original is carried
  // along, without which nothing is trained and matrices are quantised as they are.
  Result begin(const std::vector<std::int32_t>& tokens, std::vector<long> lengths, bool beside,
               const std::atomic<bool>* abort);
  // Quantises block `layer`; blocks must come in order. Hidden states are as before if it fails.
  Result block(long layer, BlockPlan& plan, const std::atomic<bool>* abort, BlockOutcome* out);

  // The embedding, or a head of its own, rounded to nearest; with 16 bits as f16 values, in `halves` [M, d].
  Result table(bool head, int bits, long group, const std::atomic<bool>* abort, MatrixOutcome* out,
               std::vector<std::uint16_t>* halves);
  [[nodiscard]] bool has_head() const { return sources_.head.has_value(); }

  [[nodiscard]] long next_layer() const { return next_; }
  [[nodiscard]] const DecoderSpec& spec() const { return spec_; }
  // [T, hidden]: what goes into the next block.
  [[nodiscard]] const float* hidden() const { return x_.as<float>(); }
  [[nodiscard]] long tokens() const { return block_->tokens(); }
  std::atomic<int> matrices_done{0};  // of the block in work

 private:
  // The original's next hidden states into next_original_, and the inputs of its layers if `keep`.
  Result run_original(const BlockWeights& weights, long layer, bool keep);
  Result train(long layer, const BlockPlan& plan, const std::atomic<bool>* abort, BlockWeights& weights,
               BlockOutcome* out);
  struct SetStatistics {
    Buffer H;           // damped
    Buffer difference;  // C - H of compensation.h, if any matrix aims at the original's outputs
    IntegerStep integer;
  };
  Result gather(const std::array<Part, 3>& parts, int count, const float* inputs,
                const std::array<MatrixPlan, kParts>& plans, long d, SetStatistics* out);
  Result solve(const MatrixPlan& plan, const SetStatistics& statistics, const std::atomic<bool>* abort, Linear& linear,
               MatrixOutcome* out);
  Result set(const std::array<Part, 3>& parts, int count, const float* inputs, BlockWeights& weights,
             std::array<MatrixPlan, kParts>& plans, const std::atomic<bool>* abort,
             std::array<MatrixOutcome, kParts>* out);

  DecoderSpec spec_;
  ModelSources sources_;
  Effort effort_;
  std::vector<ModelFile> files_;
  std::unique_ptr<Block> block_;
  std::vector<long> lengths_;
  Buffer x_, work_, original_, next_original_;  // [T, hidden] each; the last two empty unless `beside`
  std::array<Buffer, kParts> original_inputs_;  // of the first layer of each set: [T, cols]
  long next_ = 0;
};

}  // namespace outrider::quantize
