#include "quantize/calibration.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/half.h"
#include "quantize/statistics.h"

namespace outrider::quantize {
namespace {

Result no_memory() { return Result::error(Status::kMemory, "Cannot allocate memory for the calibration tokens"); }

Result aborted() { return Result::error(Status::kAborted, "aborted"); }

}  // namespace

Result Calibration::begin(const std::vector<std::int32_t>& tokens, std::vector<long> lengths, bool beside,
                          const std::atomic<bool>* abort) {
  if (Result opened = open_files(sources_, &files_); !opened.ok()) return opened;
  lengths_ = std::move(lengths);
  block_ = std::make_unique<Block>(spec_, lengths_, effort_);
  const long T = block_->tokens(), hidden = spec_.hidden;
  std::vector<Buffer*> states{&x_, &work_};
  if (beside) states.insert(states.end(), {&original_, &next_original_});
  for (Buffer* const state : states) {
    *state = floats(T * hidden);
    if (!*state) return no_memory();
  }
  if (!block_->allocate()) return no_memory();
  Linear table;
  if (Result read = read_linear(files_, sources_.embedding, "embedding", effort_, abort, &table); !read.ok())
    return read;
  embed(table, tokens.data(), T, spec_.embedding_scale, x_.as<float>());
  if (beside) std::memcpy(original_.data(), x_.data(), x_.size());
  return {};
}

Result Calibration::run_original(const BlockWeights& weights, long layer, bool keep) {
  std::memcpy(next_original_.data(), original_.data(), original_.size());
  const auto visit = [&](const std::array<Part, 3>& parts, int, const float* inputs) -> Result {
    if (!keep) return {};
    const auto first = static_cast<std::size_t>(parts[0]);
    Buffer& kept = original_inputs_[first];
    if (!kept) kept = floats(block_->tokens() * weights.parts[first].cols);
    if (!kept) return no_memory();
    std::memcpy(kept.data(), inputs, kept.size());
    return {};
  };
  float* const x = next_original_.as<float>();
  if (Result done = block_->walk(weights, layer, x, visit); !done.ok()) return done;
  return block_->mlp_output(weights, x);
}

Result Calibration::gather(const std::array<Part, 3>& parts, int count, const float* inputs,
                           const std::array<MatrixPlan, kParts>& plans, long d, SetStatistics* out) {
  const auto any = [&](const auto& holds) {
    return std::any_of(parts.begin(), parts.begin() + count,
                       [&](Part part) { return holds(plans[static_cast<std::size_t>(part)]); });
  };
  if (!any([](const MatrixPlan& plan) { return plan.solves(); })) return {};
  const long T = block_->tokens();
  if (Result done = second_moments(inputs, T, d, block_->product(), &out->H); !done.ok()) return done;
  if (original_ && any([](const MatrixPlan& plan) { return plan.aims(); })) {
    const float* const own = original_inputs_[static_cast<std::size_t>(parts[0])].as<float>();
    if (Result done = cross_moments(own, inputs, T, d, block_->product(), &out->difference); !done.ok()) return done;
    over(d * d, effort_, [&](long i) { out->difference.as<float>()[i] -= out->H.as<float>()[i]; });
  }
  damp(out->H.as<float>(), d, kDamping);
  if (!any([](const MatrixPlan& plan) { return plan.solves() && plan.method != Method::kRound; })) return {};
  return out->integer.prepare(out->H.as<float>(), shape_of(1, d, 2, d), effort_);
}

Result Calibration::solve(const MatrixPlan& plan, const SetStatistics& statistics, const std::atomic<bool>* abort,
                          Linear& linear, MatrixOutcome* out) {
  if (statistics.difference && plan.aims()) {
    if (Result done = compensate(statistics.difference.as<float>(), statistics.integer, linear.rows, linear.cols,
                                 block_->product(), linear.w.as<float>());
        !done.ok()) {
      return done;
    }
  }
  LayerTask task;
  task.W = linear.w.as<float>();
  task.H = statistics.H.as<float>();
  task.shape = out->shape;
  task.method = plan.method;
  task.rounds = plan.rounds;
  task.f16_grid = true;
  task.abort = abort;
  task.integer = plan.method == Method::kRound ? nullptr : &statistics.integer;
  LayerResult result;
  if (Result done = solve_layer(task, effort_, &result); !done.ok()) return done;
  out->loss = std::accumulate(result.loss.begin(), result.loss.end(), 0.0) / result.energy;
  out->rounded = result.steps.front().loss / result.energy;
  out->q = std::move(result.q);
  out->grid = std::move(result.grid);
  to_unsigned(out->shape, &out->grid);
  return {};
}

Result Calibration::set(const std::array<Part, 3>& parts, int count, const float* inputs, BlockWeights& weights,
                        std::array<MatrixPlan, kParts>& plans, const std::atomic<bool>* abort,
                        std::array<MatrixOutcome, kParts>* out) {
  SetStatistics statistics;
  const long d = weights.parts[static_cast<std::size_t>(parts[0])].cols;
  if (Result done = gather(parts, count, inputs, plans, d, &statistics); !done.ok()) return done;
  for (int i = 0; i < count; ++i, ++matrices_done) {
    if (abort->load()) return aborted();
    const auto part = static_cast<std::size_t>(parts[static_cast<std::size_t>(i)]);
    Linear& linear = weights.parts[part];
    MatrixPlan& plan = plans[part];
    MatrixOutcome& outcome = (*out)[part];
    if (plan.bits == 16) continue;
    outcome.shape = shape_of(linear.rows, linear.cols, plan.bits, plan.group);
    if (plan.earlier) {
      static_cast<StoredMatrix&>(outcome) = std::move(*plan.earlier);
    } else if (Result done = solve(plan, statistics, abort, linear, &outcome); !done.ok()) {
      return done;
    }
    image_of(outcome.shape, outcome.q.data(), outcome.grid, effort_.threads, linear.w.as<float>());
  }
  return {};
}

Result Calibration::table(bool head, int bits, long group, const std::atomic<bool>* abort, MatrixOutcome* out,
                          std::vector<std::uint16_t>* halves) {
  Linear linear;
  const MatrixSource& source = head ? *sources_.head : sources_.embedding;
  if (Result read = read_linear(files_, source, head ? "output head" : "embedding", effort_, abort, &linear);
      !read.ok())
    return read;
  if (bits == 16) {
    const float* const values = linear.w.as<float>();
    halves->resize(static_cast<std::size_t>(linear.rows * linear.cols));
    std::transform(values, values + linear.rows * linear.cols, halves->begin(), f32_to_f16);
    return {};
  }
  return round_whole(linear.w.as<float>(), shape_of(linear.rows, linear.cols, bits, group), effort_.threads, out);
}

Result Calibration::train(long layer, const BlockPlan& plan, const std::atomic<bool>* abort, BlockWeights& weights,
                          BlockOutcome* out) {
  MinimiseTask task;
  task.layer = layer;
  task.x = x_.as<float>();
  task.target = next_original_.as<float>();
  task.lengths = lengths_;
  task.epochs = plan.epochs;
  task.rate = plan.rate;
  task.seed = plan.seed + static_cast<std::uint64_t>(layer);
  task.abort = abort;
  std::array<Trainable, kParts> parts;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    MatrixOutcome& from = out->parts[part];
    if (!from.q.empty()) parts[part] = {&from.shape, from.q.data(), &from.grid};
  }
  if (Result done = minimise(spec_, task, parts, effort_, &weights, &out->error); !done.ok()) return done;
  out->minimised = true;
  for (const std::vector<float>* norm : norms_of(weights)) out->norms.push_back(*norm);
  return {};
}

Result Calibration::block(long layer, BlockPlan& plan, const std::atomic<bool>* abort, BlockOutcome* out) {
  matrices_done = 0;
  BlockWeights weights;
  const auto at = static_cast<std::size_t>(layer);
  if (Result read = read_block(files_, spec_, sources_.layers[at], layer, effort_, abort, &weights); !read.ok())
    return read;
  float* const x = work_.as<float>();
  const bool trains = original_ && plan.epochs > 0 && plan.norms.empty() && differentiable(spec_, weights);
  if (original_) {
    const bool aims =
        std::any_of(plan.parts.begin(), plan.parts.end(), [](const MatrixPlan& part) { return part.aims(); });
    if (Result done = run_original(weights, layer, aims); !done.ok()) return done;
  }
  for (std::size_t i = 0; i < plan.norms.size(); ++i) *norms_of(weights)[i] = plan.norms[i];
  std::memcpy(x, x_.data(), x_.size());
  Block& block = *block_;
  const auto solve = [&](std::array<Part, 3> parts, int count, const float* inputs) {
    return set(parts, count, inputs, weights, plan.parts, abort, &out->parts);
  };
  if (Result done = block.walk(weights, layer, x, solve); !done.ok()) return done;
  if (trains) {
    if (Result done = train(layer, plan, abort, weights, out); !done.ok()) return done;
    std::memcpy(x, x_.data(), x_.size());
    if (Result done = block.forward(weights, layer, x); !done.ok()) return done;
  } else {
    if (Result done = block.mlp_output(weights, x); !done.ok()) return done;
  }
  std::swap(x_, work_);
  std::swap(original_, next_original_);
  ++next_;
  return {};
}

}  // namespace outrider::quantize
