// End-to-end distillation: with the codes of all blocks fixed, scales, zeros and norms are trained through the whole
// model until it says what the original says.
//
// One step takes one sequence: forwards through all blocks, the divergence of the last logits, and back, where each
// block is trained as soon as its gradients are there. What blocks leave for the way back is kept as far as there is
// room for it; the others are computed once more. The original is run
// once, while the blocks come in; what is kept of it are its hidden states before the head.
#pragma once

#include <memory>

#include "quantize/block_trainer.h"
#include "quantize/head_gradient.h"

namespace outrider::quantize {

struct DistillationOptions {
  std::uint64_t seed = 0;  // of the order of the sequences
  double rate = 0.001;     // of the first step, relative to the size of what is trained
  long steps = 0;          // over which it falls to a tenth by a cosine
};

class Distillation {
 public:
  Distillation(DecoderSpec spec, ModelSources sources, const Effort& effort, const DistillationOptions& options)
      : spec_(std::move(spec)), sources_(std::move(sources)), effort_(effort), options_(options) {}

  // The student's embedding, or a head of its own, is rounded as Calibration::table() rounds it.
  Result begin(std::vector<std::int32_t> tokens, std::vector<long> lengths, int table_bits, long table_group,
               const std::atomic<bool>* abort);
  // The next block of the student; norms are the model's if empty, in the order of norms_of(). kUnsupported for a
  // family without a backward pass.
  Result block(std::array<StoredMatrix, kParts> matrices, const std::vector<std::vector<float>>& norms,
               const std::atomic<bool>* abort);
  // Once after the last block.
  Result ready();

  // One step, and the loss before it; the student's products are of factors rounded like that. The loss and gradients
  // below are in f32.
  Result step(Factors factors, const std::atomic<bool>* abort, double* loss);
  // Gradients of one sequence without a step: of each block's collect() and norms, and of the last norm.
  Result gradients(std::size_t sequence, const std::atomic<bool>* abort, double* loss);
  // Mean loss of up to `most` sequences.
  Result divergence(std::size_t most, const std::atomic<bool>* abort, double* loss);
  // Scales and zeros to f16.
  void round();

  [[nodiscard]] long steps_done() const { return t_; }
  // Everything that a later run needs to go on after steps_done() steps: restored() takes it over.
  std::vector<std::vector<float>*> state();
  void restored(long steps_done);

  [[nodiscard]] const DecoderSpec& spec() const { return spec_; }
  [[nodiscard]] long blocks() const { return static_cast<long>(students_.size()); }
  [[nodiscard]] std::size_t sequences() const { return lengths_.size(); }
  [[nodiscard]] const StoredMatrix& matrix(long layer, int part) const {
    return students_[static_cast<std::size_t>(layer)]->matrices[static_cast<std::size_t>(part)];
  }
  [[nodiscard]] Norms norms(long layer) { return norms_of(students_[static_cast<std::size_t>(layer)]->own); }
  [[nodiscard]] const BlockTrainer& trainer(long layer) const {
    return *students_[static_cast<std::size_t>(layer)]->trainer;
  }
  [[nodiscard]] const std::vector<std::vector<float>>& norm_gradients(long layer) const {
    return students_[static_cast<std::size_t>(layer)]->d_norms;
  }
  [[nodiscard]] const std::vector<float>& final_norm() const { return final_norm_; }
  [[nodiscard]] const std::vector<float>& final_norm_gradient() const { return head_->d_norm(); }

 private:
  struct Student {
    std::array<StoredMatrix, kParts> matrices;
    BlockWeights own;  // norms and biases; the matrices' memory is shared by all blocks
    std::unique_ptr<BlockTrainer> trainer;
    std::vector<std::vector<float>> d_norms;  // of gradients()
  };
  Result read_tables(int bits, long group, const std::atomic<bool>* abort);
  void load(Student& student);
  void round_factors(Factors factors);
  // Where a block's activations are kept; null: nowhere.
  BlockActivations* kept(std::size_t layer) {
    const std::size_t behind = students_.size() - 1 - layer;
    return behind < kept_.size() ? &kept_[behind] : nullptr;
  }
  Result forward(std::size_t sequence, const std::atomic<bool>* abort);
  // Forwards, and the head with its gradients if `train`.
  Result pass(std::size_t sequence, bool train, const std::atomic<bool>* abort, double* loss);
  // pass() and backwards through the blocks, with a step of that rate unless it is 0.
  Result back(std::size_t sequence, const std::atomic<bool>* abort, double rate, double* loss);

  DecoderSpec spec_;
  ModelSources sources_;
  Effort effort_;
  DistillationOptions options_;
  std::vector<ModelFile> files_;
  std::vector<std::int32_t> tokens_;
  std::vector<long> lengths_, starts_;
  // The original, run on a part of the sequences at a time; its hidden states, [T, hidden], and its tables. Heads that
  // are the embedding are empty.
  std::unique_ptr<Block> original_;
  std::vector<std::vector<long>> parts_;  // lengths_, cut where kPart tokens are full
  Buffer teacher_;
  Linear teacher_embedding_, teacher_head_;
  // The student
  Linear embedding_, head_table_;
  std::vector<float> final_norm_;
  std::vector<std::unique_ptr<Student>> students_;
  std::unique_ptr<Adam> final_norm_state_;
  // Work on one sequence
  BlockWeights work_;
  std::unique_ptr<BlockGradient> gradient_;
  std::unique_ptr<HeadGradient> head_;
  std::vector<BlockActivations> kept_;  // of the last blocks, the last one's first
  std::vector<Buffer> inputs_;          // of each block and of the last norm: [longest, hidden]
  std::vector<std::size_t> order_;
  long t_ = 0;
};

}  // namespace outrider::quantize
