// What each matrix costs at each number of bits, before anything is decided.
//
// To second order, errors dW of a matrix with outputs y = W x change what the model says by
//
//   KL = 1/2 E[(g . dW x)^2] ~ 1/2 sum_m E[g_m^2] dW_m E[x x^T] dW_m^T
//
// nats a token, where g is the gradient of -log p(t) by y for a token t drawn from the model's own law p: the Fisher
// information (arXiv:1206.1106 uses it so; K-FAC, arXiv:1503.05671, for the split into g and x, of which the diagonal
// of g is kept). One backward pass gives all E[g_m^2]; dW comes from quantising every matrix at every option. Blocks
// come from the last to the first, as the backward pass meets them.
#pragma once

#include <memory>

#include "quantize/block_gradient.h"
#include "quantize/head_gradient.h"
#include "quantize/solver.h"

namespace outrider::quantize {

struct SurveyOption {
  int bits = 2;
  long group = 64;
};

class Survey {
 public:
  Survey(DecoderSpec spec, ModelSources sources, const Effort& effort)
      : spec_(std::move(spec)), sources_(std::move(sources)), effort_(effort) {}

  // Runs the model on the tokens, and the head backwards.
  Result begin(const std::vector<std::int32_t>& tokens, std::vector<long> lengths, std::uint64_t seed,
               const std::atomic<bool>* abort);
  // costs[part][option] of the next block, in nats; of families without a backward pass, in parts of the output's
  // energy.
  Result block(const std::vector<SurveyOption>& options, const std::atomic<bool>* abort,
               std::array<std::vector<double>, kParts>* costs);

  [[nodiscard]] long blocks_left() const { return left_; }
  [[nodiscard]] const DecoderSpec& spec() const { return spec_; }

 private:
  Result head(const std::atomic<bool>* abort);
  Result back(const BlockWeights& weights, long layer, const std::atomic<bool>* abort);
  Result set(const std::array<Part, 3>& parts, int count, const float* inputs, const BlockWeights& weights,
             const std::vector<SurveyOption>& options, const std::atomic<bool>* abort,
             std::array<std::vector<double>, kParts>* costs);

  DecoderSpec spec_;
  ModelSources sources_;
  Effort effort_;
  std::vector<ModelFile> files_;
  std::vector<long> lengths_;
  std::uint64_t seed_ = 0;
  std::unique_ptr<Block> block_;
  std::vector<Buffer> inputs_;  // of each block and of the last norm, [T, hidden]
  Buffer dy_;                   // gradients of the outputs of the block before the next one, [T, hidden]
  bool differentiable_ = true;
  OutputSquares squares_;
  long left_ = 0;
};

}  // namespace outrider::quantize
