#include "quantize/survey.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "model/weights_pack.h"
#include "quantize/statistics.h"

namespace outrider::quantize {
namespace {

// Enough of decoupleQ to see what it makes of few bits; at 4 bits and more the grid that spans each group will do.
constexpr int kRounds = 2;

Result no_memory() { return Result::error(Status::kMemory, "Cannot allocate memory to survey the model"); }

}  // namespace

Result Survey::begin(const std::vector<std::int32_t>& tokens, std::vector<long> lengths, std::uint64_t seed,
                     const std::atomic<bool>* abort) {
  if (Result opened = open_files(sources_, &files_); !opened.ok()) return opened;
  lengths_ = std::move(lengths);
  seed_ = seed;
  block_ = std::make_unique<Block>(spec_, lengths_, effort_);
  left_ = static_cast<long>(spec_.layers.size());
  const long T = block_->tokens(), hidden = spec_.hidden;
  for (long i = 0; i <= left_; ++i) {
    inputs_.push_back(floats(T * hidden));
    if (!inputs_.back()) return no_memory();
  }
  if (!block_->allocate()) return no_memory();
  Linear table;
  if (Result read = read_linear(files_, sources_.embedding, "embedding", effort_, abort, &table); !read.ok())
    return read;
  embed(table, tokens.data(), T, spec_.embedding_scale, inputs_.front().as<float>());
  for (long layer = 0; layer < left_; ++layer) {
    if (abort->load()) return Result::error(Status::kAborted, "aborted");
    const auto at = static_cast<std::size_t>(layer);
    BlockWeights weights;
    if (Result read = read_block(files_, spec_, sources_.layers[at], layer, effort_, abort, &weights); !read.ok())
      return read;
    differentiable_ = differentiable_ && differentiable(spec_, weights) && spec_.logit_soft_cap == 0;
    std::memcpy(inputs_[at + 1].data(), inputs_[at].data(), inputs_[at].size());
    if (Result done = block_->forward(weights, layer, inputs_[at + 1].as<float>()); !done.ok()) return done;
  }
  return differentiable_ ? head(abort) : Result{};
}

Result Survey::head(const std::atomic<bool>* abort) {
  const long hidden = spec_.hidden;
  Linear table;
  if (Result read = read_linear(files_, sources_.head ? *sources_.head : sources_.embedding, "output head", effort_,
                                abort, &table);
      !read.ok()) {
    return read;
  }
  std::vector<float> norm;
  if (Result read = read_vector(files_, sources_.final_norm, "final norm", &norm); !read.ok()) return read;
  HeadGradient gradient(*std::max_element(lengths_.begin(), lengths_.end()), hidden, spec_.vocab, spec_.norm_eps,
                        spec_.logit_scale, effort_);
  gradient.round(Factors::kBF16);
  dy_ = floats(block_->tokens() * hidden);
  if (!gradient.allocate() || !dy_) return no_memory();
  long first = 0;
  for (const long length : lengths_) {
    double loss = 0;
    const float* const x = inputs_.back().as<float>() + first * hidden;
    if (Result done = gradient.draw({x, nullptr, length, norm, table, table, abort},
                                    seed_ + static_cast<std::uint64_t>(first), &loss);
        !done.ok()) {
      return done;
    }
    std::memcpy(dy_.as<float>() + first * hidden, gradient.dx(),
                static_cast<std::size_t>(length * hidden) * sizeof(float));
    first += length;
  }
  return {};
}

Result Survey::back(const BlockWeights& weights, long layer, const std::atomic<bool>* abort) {
  const long hidden = spec_.hidden;
  BlockGradient gradient(spec_, *std::max_element(lengths_.begin(), lengths_.end()), effort_);
  gradient.round(Factors::kBF16);
  if (!gradient.allocate(weights)) return no_memory();
  for (std::size_t part = 0; part < squares_.size(); ++part)
    squares_[part].assign(static_cast<std::size_t>(weights.parts[part].rows), 0.0);
  gradient.only_outputs(&squares_);
  const float* const x = inputs_[static_cast<std::size_t>(layer)].as<float>();
  long first = 0;
  for (const long length : lengths_) {
    if (abort->load()) return Result::error(Status::kAborted, "aborted");
    float* const dy = dy_.as<float>() + first * hidden;
    if (Result done = gradient.forward(weights, layer, x + first * hidden, length); !done.ok()) return done;
    if (Result done = gradient.backward_from(weights, dy, true); !done.ok()) return done;
    std::memcpy(dy, gradient.gradients().x.data(), static_cast<std::size_t>(length * hidden) * sizeof(float));
    first += length;
  }
  for (std::vector<double>& sums : squares_)
    for (double& sum : sums) sum /= static_cast<double>(first);
  return {};
}

Result Survey::set(const std::array<Part, 3>& parts, int count, const float* inputs, const BlockWeights& weights,
                   const std::vector<SurveyOption>& options, const std::atomic<bool>* abort,
                   std::array<std::vector<double>, kParts>* costs) {
  const long d = weights.parts[static_cast<std::size_t>(parts[0])].cols;
  Buffer H;
  if (Result done = second_moments(inputs, block_->tokens(), d, block_->product(), &H); !done.ok()) return done;
  damp(H.as<float>(), d, kDamping);
  IntegerStep integer;
  if (Result done = integer.prepare(H.as<float>(), shape_of(1, d, 2, d), effort_); !done.ok()) return done;
  for (int i = 0; i < count; ++i) {
    const auto part = static_cast<std::size_t>(parts[static_cast<std::size_t>(i)]);
    const Linear& linear = weights.parts[part];
    for (const SurveyOption& option : options) {
      LayerTask task;
      task.W = linear.w.as<float>();
      task.H = H.as<float>();
      task.shape = shape_of(linear.rows, d, option.bits, option.group);
      task.method = option.bits < 4 ? Method::kDecoupleq : Method::kGptq;
      task.rounds = kRounds;
      task.abort = abort;
      task.integer = &integer;
      LayerResult result;
      if (Result done = solve_layer(task, effort_, &result); !done.ok()) return done;
      double cost = 0;
      for (std::size_t m = 0; m < result.loss.size(); ++m)
        cost += result.loss[m] * (differentiable_ ? 0.5 * squares_[part][m] : 1 / result.energy);
      (*costs)[part].push_back(cost);
    }
  }
  return {};
}

Result Survey::block(const std::vector<SurveyOption>& options, const std::atomic<bool>* abort,
                     std::array<std::vector<double>, kParts>* costs) {
  const long layer = left_ - 1;
  const auto at = static_cast<std::size_t>(layer);
  BlockWeights weights;
  if (Result read = read_block(files_, spec_, sources_.layers[at], layer, effort_, abort, &weights); !read.ok())
    return read;
  if (differentiable_) {
    if (Result done = back(weights, layer, abort); !done.ok()) return done;
  }
  // The block's output is not needed any more: its place serves the steps.
  float* const x = inputs_[at + 1].as<float>();
  std::memcpy(x, inputs_[at].data(), inputs_[at].size());
  const auto solve = [&](std::array<Part, 3> parts, int count, const float* from) {
    return set(parts, count, from, weights, options, abort, costs);
  };
  if (Result done = block_->walk(weights, layer, x, solve); !done.ok()) return done;
  --left_;
  inputs_.pop_back();
  return {};
}

}  // namespace outrider::quantize
