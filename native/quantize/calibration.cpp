#include "quantize/calibration.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/half.h"
#include "quantize/integer_step.h"
#include "quantize/statistics.h"

namespace outrider::quantize {
namespace {

Result no_memory() { return Result::error(Status::kMemory, "Cannot allocate memory for the calibration tokens"); }

Result aborted() { return Result::error(Status::kAborted, "aborted"); }

}  // namespace

Result Calibration::begin(const std::vector<std::int32_t>& tokens, std::vector<long> lengths,
                          const std::atomic<bool>* abort) {
  if (Result opened = open_files(sources_, &files_); !opened.ok()) return opened;
  lengths_ = std::move(lengths);
  block_ = std::make_unique<Block>(spec_, lengths_, effort_);
  const long T = block_->tokens(), hidden = spec_.hidden;
  x_ = Buffer(static_cast<std::size_t>(T * hidden) * sizeof(float));
  work_ = Buffer(static_cast<std::size_t>(T * hidden) * sizeof(float));
  if (!block_->allocate() || !x_ || !work_) return no_memory();
  Linear table;
  if (Result read = read_linear(files_, sources_.embedding, "embedding", effort_, abort, &table); !read.ok())
    return read;
  embed(table, tokens.data(), T, spec_.embedding_scale, x_.as<float>());
  return {};
}

Result Calibration::set(const std::array<Part, 3>& parts, int count, const float* inputs, BlockWeights& weights,
                        std::array<MatrixPlan, kParts>& plans, const std::atomic<bool>* abort,
                        std::array<MatrixOutcome, kParts>* out) {
  Buffer H;
  IntegerStep integer;
  bool prepared = false;
  for (int i = 0; i < count; ++i, ++matrices_done) {
    if (abort->load()) return aborted();
    const auto part = static_cast<std::size_t>(parts[static_cast<std::size_t>(i)]);
    Linear& linear = weights.parts[part];
    MatrixPlan& plan = plans[part];
    MatrixOutcome& outcome = (*out)[part];
    if (plan.bits == 16) continue;
    const Shape& s = outcome.shape = shape_of(linear.rows, linear.cols, plan.bits, plan.group);
    if (plan.earlier) {
      static_cast<StoredMatrix&>(outcome) = std::move(*plan.earlier);
    } else {
      if (!H) {
        const long d = linear.cols;
        if (Result done = second_moments(inputs, block_->tokens(), d, block_->product(), &H); !done.ok()) return done;
        damp(H.as<float>(), d, kDamping);
      }
      if (!prepared && plan.method != Method::kRound) {
        if (Result done = integer.prepare(H.as<float>(), s, effort_); !done.ok()) return done;
        prepared = true;
      }
      LayerTask task;
      task.W = linear.w.as<float>();
      task.H = H.as<float>();
      task.shape = s;
      task.method = plan.method;
      task.rounds = plan.rounds;
      task.f16_grid = true;
      task.abort = abort;
      task.integer = prepared ? &integer : nullptr;
      LayerResult result;
      if (Result done = solve_layer(task, effort_, &result); !done.ok()) return done;
      outcome.loss = std::accumulate(result.loss.begin(), result.loss.end(), 0.0) / result.energy;
      outcome.rounded = result.steps.front().loss / result.energy;
      outcome.q = std::move(result.q);
      outcome.grid = std::move(result.grid);
      to_unsigned(s, &outcome.grid);
    }
    image_of(s, outcome.q.data(), outcome.grid, effort_.threads, linear.w.as<float>());
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
  task.target = target_.as<float>();
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
  for (std::size_t i = 0; i < plan.norms.size(); ++i) *norms_of(weights)[i] = plan.norms[i];
  float* const x = work_.as<float>();
  const bool trains = plan.epochs > 0 && plan.norms.empty() && differentiable(spec_, weights);
  if (trains) {
    if (!target_) target_ = Buffer(x_.size());
    if (!target_) return no_memory();
    std::memcpy(target_.data(), x_.data(), x_.size());
    if (Result done = block_->forward(weights, layer, target_.as<float>()); !done.ok()) return done;
  }
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
  ++next_;
  return {};
}

}  // namespace outrider::quantize
