// The decoder step: walks the layers of a model for the rows of a batch, calling ops. Knows no files and no JavaScript.
#pragma once

#include <atomic>

#include "model/batch.h"
#include "model/weights.h"

namespace outrider {

// Rows evaluated together, alone and while others wait for their turn. Bounds scratch memory; results do not depend on
// it.
constexpr long kChunkRows = 256;
constexpr long kSharedChunkRows = 32;
constexpr long kMostRepeats = 4096;
constexpr std::int32_t kMostCopied = 255;  // by a step
constexpr long kMostBest = 64;
constexpr long kMostMixed = 64;
constexpr long kMostDraws = 64;

// Memory reused from step to step. One per engine thread.
class Workspace {
 public:
  // At least `bytes`, undefined content; null if memory ran out. One block per slot.
  std::byte* slot(int index, std::size_t bytes);
  // Starts to count what is asked for: bytes() is then the memory that the work since has needed, and not what earlier
  // work has left behind.
  void count_anew();
  [[nodiscard]] std::size_t bytes() const;
  // Gives the memory back.
  void clear();

 private:
  static constexpr int kMostSlots = 24;
  Buffer slots_[kMostSlots];
  std::size_t asked_[kMostSlots] = {};
};

struct Chunk;

// One batch on its way through the model, chunk by chunk, so that the engine can serve others in between.
class Forward {
 public:
  Forward(std::shared_ptr<const Weights> weights, Batch batch)
      : weights_(std::move(weights)), batch_(std::move(batch)) {}

  // Checks shapes, ranges and room; reserves KV pages and the memory of the results. Call once, before step().
  Result begin();
  // Evaluates the next chunk. True in *done when none is left. Polls `abort` before every layer.
  // `most`: rows of the chunk at most; fewer let others have their turn sooner.
  Result step(Workspace& workspace, const std::atomic<bool>& abort, long most, bool* done);
  // Puts all sequences and samplers back to where begin() found them. For whoever gives up: after an error, after an
  // abort, or between two steps.
  void roll_back();

  Batch& batch() { return batch_; }
  BatchOutput& output() { return output_; }

 private:
  Result reserve_output();
  Result check_input() const;
  Result check_repeat() const;
  Result check_verify() const;
  Result check_continues() const;
  Result check_copies() const;
  [[nodiscard]] bool copying() const { return !batch_.copies.empty(); }
  [[nodiscard]] long longest_copy() const;
  [[nodiscard]] long most_drawn() const;
  void copy_rows();
  void note_step();
  Result prepare_rows();
  [[nodiscard]] bool goes_on() const;
  Result next_token();
  void clear_silent_layers();
  Result layers(Chunk& chunk, Workspace& workspace, const std::atomic<bool>& abort);
  Result head(Chunk& chunk, Workspace& workspace);
  Result head_rows(const Chunk& chunk, const long* rows, long n, Workspace& workspace);
  [[nodiscard]] bool only_greedy(long row) const;
  Result outputs(long row, float* logits, Workspace& workspace);
  Result draw(long row, const float* logits, float logsumexp, Workspace& workspace);
  [[nodiscard]] bool walks(long row) const;
  [[nodiscard]] bool ends(std::int32_t token) const;
  [[nodiscard]] std::int32_t accepted(long row, ops::SampleArgs& args) const;
  void drawn(long row, std::int32_t token, float logprob, bool by_rule = false);
  [[nodiscard]] bool only_chains() const;
  Result commit_walks();

  std::shared_ptr<const Weights> weights_;
  Batch batch_;
  BatchOutput output_;
  std::vector<std::int32_t> position_;              // per row
  std::vector<std::int32_t> slot_;                  // per row: index among the scratch rows of its sequence
  std::vector<long> start_length_;                  // per sequence
  std::vector<std::vector<std::int32_t>> rows_of_;  // batch rows of each sequence, in order
  std::vector<Sequence::Tree> trees_;        // scratch: what the slots of each sequence hold, these rows included
  std::vector<std::size_t> history_before_;  // per sequence: history length of its sampler at begin()
  std::vector<long> first_length_;           // start_length_ and history_before_ of the first repetition
  std::vector<std::size_t> first_history_;
  std::vector<std::int32_t> next_walk_;  // verify: per row: the child that the walk goes to, or -1
  bool approximate_ = false;             // verify: a sampler has a rule to accept tokens by
  bool in_place_ = false;                // verify: rows of chains, written where they stay if the walk takes them
  long next_row_ = 0;
  long repeated_ = 0;             // repetitions
  double copying_seconds_ = 0;    // of all steps before
  double step_seconds_ = 0;       // of the step under way, of a batch that copies
  Repetition repetition_;         // that it goes on with
  double* quiet_step_ = nullptr;  // in output_.steps: the last one, if it proposed nothing
  std::size_t proposed_ = 0;      // how many tokens it has of that
};

}  // namespace outrider
