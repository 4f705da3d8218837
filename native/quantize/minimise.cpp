#include "quantize/minimise.h"

#include <algorithm>
#include <numeric>

#include "quantize/schedule.h"

namespace outrider::quantize {
namespace {

// Sequences, spread evenly, that the loss before and after is measured on.
constexpr std::size_t kProbes = 32;
// Losses from here on are far above what bf16 factors cost, some 2^-15.
constexpr double kRough = 1e-3;

class Minimiser {
 public:
  Minimiser(const DecoderSpec& spec, const MinimiseTask& task, const std::array<Trainable, kParts>& parts,
            const Effort& effort, BlockWeights* weights)
      : spec_(spec),
        task_(task),
        parts_(parts),
        effort_(effort),
        weights_(*weights),
        gradient_(spec, *std::max_element(task.lengths.begin(), task.lengths.end()), effort) {}

  Result run(MinimiseOutcome* out) {
    if (!gradient_.allocate(weights_))
      return Result::error(Status::kMemory, "Cannot allocate memory to train the scales of a block");
    std::vector<long> starts(task_.lengths.size());
    std::exclusive_scan(task_.lengths.begin(), task_.lengths.end(), starts.begin(), 0L);
    const std::array<Grid, kParts> grids = saved_grids();
    const Norms norms = norms_of(weights_);
    std::vector<std::vector<float>> saved_norms;
    for (const std::vector<float>* norm : norms) saved_norms.push_back(*norm);
    if (Result done = mean_loss(starts, &out->before); !done.ok()) return done;

    if (out->before >= kRough) gradient_.round(Factors::kBF16);
    BlockTrainer trainer(parts_, norms, effort_.threads);
    const auto sequences = static_cast<long>(starts.size()), steps = task_.epochs * sequences;
    std::vector<std::size_t> order;
    for (long t = 0; t < steps; ++t) {
      if (t % sequences == 0) order = shuffled(starts.size(), task_.seed, static_cast<std::uint64_t>(t / sequences));
      double loss = 0;
      if (Result done = pass(starts, order[static_cast<std::size_t>(t % sequences)], true, &loss); !done.ok())
        return done;
      trainer.collect(gradient_.gradients());
      trainer.step(gradient_.gradients(), task_.rate * falling(t, steps), t + 1);
      trainer.images(&weights_);
    }
    gradient_.round(Factors::kF32);
    trainer.round();
    trainer.images(&weights_);
    if (Result done = mean_loss(starts, &out->after); !done.ok()) return done;
    if (out->after < out->before) return {};
    // NaN included: nothing was gained.
    out->after = out->before;
    for (std::size_t at = 0; at < grids.size(); ++at) {
      if (parts_[at].q != nullptr) *parts_[at].grid = grids[at];
    }
    trainer.images(&weights_);
    for (std::size_t i = 0; i < norms.size(); ++i) *norms[i] = saved_norms[i];
    return {};
  }

 private:
  Result pass(const std::vector<long>& starts, std::size_t at, bool train, double* loss) {
    if (task_.abort != nullptr && task_.abort->load()) return Result::error(Status::kAborted, "aborted");
    const long first = starts[at] * spec_.hidden;
    if (Result done = gradient_.forward(weights_, task_.layer, task_.x + first, task_.lengths[at]); !done.ok())
      return done;
    if (train) return gradient_.backward(weights_, task_.target + first, false, loss);
    *loss = gradient_.loss(task_.target + first);
    return {};
  }

  Result mean_loss(const std::vector<long>& starts, double* mean) {
    *mean = 0;
    const std::size_t count = std::min(kProbes, starts.size());
    for (std::size_t i = 0; i < count; ++i) {
      double loss = 0;
      if (Result done = pass(starts, i * starts.size() / count, false, &loss); !done.ok()) return done;
      *mean += loss / static_cast<double>(count);
    }
    return {};
  }

  [[nodiscard]] std::array<Grid, kParts> saved_grids() const {
    std::array<Grid, kParts> grids;
    for (std::size_t at = 0; at < grids.size(); ++at) {
      if (parts_[at].q != nullptr) grids[at] = *parts_[at].grid;
    }
    return grids;
  }

  const DecoderSpec& spec_;
  const MinimiseTask& task_;
  const std::array<Trainable, kParts>& parts_;
  Effort effort_;
  BlockWeights& weights_;
  BlockGradient gradient_;
};

}  // namespace

Result minimise(const DecoderSpec& spec, const MinimiseTask& task, const std::array<Trainable, kParts>& parts,
                const Effort& effort, BlockWeights* weights, MinimiseOutcome* out) {
  return Minimiser(spec, task, parts, effort, weights).run(out);
}

}  // namespace outrider::quantize
