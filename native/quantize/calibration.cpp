#include "quantize/calibration.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/half.h"
#include "base/thread_pool.h"
#include "quantize/integer_step.h"
#include "quantize/statistics.h"

namespace outrider::quantize {
namespace {

constexpr double kDamping = 0.01;

Result no_memory() { return Result::error(Status::kMemory, "Cannot allocate memory for the calibration tokens"); }

Result aborted() { return Result::error(Status::kAborted, "aborted"); }

// The image of codes in place of the weights, so that later layers see it.
void replace(const MatrixOutcome& from, int threads, Linear* linear) {
  const Shape& s = from.shape;
  parallel(threads, [&](int index, int count) {
    const Share rows = share_of(s.M, index, count);
    for (long m = rows.begin; m < rows.end; ++m) {
      for (long k = 0; k < s.d; ++k) {
        const auto at = static_cast<std::size_t>(m * s.G + k / s.group);
        const int code = from.q[static_cast<std::size_t>(m * s.d + k)] - s.low();
        linear->w.as<float>()[m * s.d + k] = from.grid.scale[at] * static_cast<float>(code) + from.grid.zero[at];
      }
    }
  });
}

}  // namespace

Result Calibration::begin(const std::vector<std::int32_t>& tokens, std::vector<long> lengths,
                          const std::atomic<bool>* abort) {
  files_.resize(sources_.files.size());
  for (std::size_t i = 0; i < files_.size(); ++i) {
    if (Result opened = files_[i].open(sources_.files[i]); !opened.ok()) return opened;
  }
  block_ = std::make_unique<Block>(spec_, std::move(lengths), effort_);
  const long T = block_->tokens(), hidden = spec_.hidden;
  x_ = Buffer(static_cast<std::size_t>(T * hidden) * sizeof(float));
  work_ = Buffer(static_cast<std::size_t>(T * hidden) * sizeof(float));
  if (!block_->allocate() || !x_ || !work_) return no_memory();
  Linear table;
  if (Result read = read_linear(files_, sources_.embedding, "embedding", effort_, abort, &table); !read.ok())
    return read;
  for (long t = 0; t < T; ++t) {
    const float* const row = table.w.as<float>() + static_cast<long>(tokens[static_cast<std::size_t>(t)]) * hidden;
    for (long c = 0; c < hidden; ++c) x_.as<float>()[t * hidden + c] = row[c] * spec_.embedding_scale;
  }
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
    Shape& s = outcome.shape;
    s.M = linear.rows;
    s.d = linear.cols;
    s.group = std::min(plan.group, s.d);
    s.G = (s.d + s.group - 1) / s.group;
    s.bits = plan.bits;
    if (!plan.q.empty()) {
      outcome.q = std::move(plan.q);
      outcome.grid = {std::move(plan.scale), std::move(plan.zero)};
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
    replace(outcome, effort_.threads, &linear);
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
  const float* const values = linear.w.as<float>();
  if (bits == 16) {
    halves->resize(static_cast<std::size_t>(linear.rows * linear.cols));
    std::transform(values, values + linear.rows * linear.cols, halves->begin(), f32_to_f16);
    return {};
  }
  Shape& s = out->shape;
  s.M = linear.rows;
  s.d = linear.cols;
  s.group = std::min(group, s.d);
  s.G = (s.d + s.group - 1) / s.group;
  s.bits = bits;
  out->q.resize(static_cast<std::size_t>(s.M * s.d));
  const std::vector<float> whole(static_cast<std::size_t>(s.M), 1.0f);
  spanning_grid(ranges_of(values, s, effort_.threads), s, whole, &out->grid);
  if (Result done = to_f16(s, &out->grid); !done.ok()) return done;
  round_to_grid(values, s, out->grid, effort_.threads, out->q.data());
  to_unsigned(s, &out->grid);
  return {};
}

Result Calibration::block(long layer, std::array<MatrixPlan, kParts>& plans, const std::atomic<bool>* abort,
                          std::array<MatrixOutcome, kParts>* out) {
  matrices_done = 0;
  BlockWeights weights;
  const auto at = static_cast<std::size_t>(layer);
  if (Result read = read_block(files_, spec_, sources_.layers[at], layer, effort_, abort, &weights); !read.ok())
    return read;
  float* const x = work_.as<float>();
  std::memcpy(x, x_.data(), x_.size());
  Block& block = *block_;
  const auto solve = [&](std::array<Part, 3> parts, int count, const float* inputs) {
    return set(parts, count, inputs, weights, plans, abort, out);
  };
  block.attention_input(weights, x);
  if (Result done = solve({kQ, kK, kV}, 3, block.normed()); !done.ok()) return done;
  if (Result done = block.attention(weights, layer); !done.ok()) return done;
  if (Result done = solve({kO}, 1, block.attended()); !done.ok()) return done;
  if (Result done = block.attention_output(weights, x); !done.ok()) return done;
  block.mlp_input(weights, x);
  if (Result done = solve({kGate, kUp}, 2, block.normed()); !done.ok()) return done;
  if (Result done = block.mlp(weights); !done.ok()) return done;
  if (Result done = solve({kDown}, 1, block.gated()); !done.ok()) return done;
  if (Result done = block.mlp_output(weights, x); !done.ok()) return done;
  std::swap(x_, work_);
  ++next_;
  return {};
}

}  // namespace outrider::quantize
