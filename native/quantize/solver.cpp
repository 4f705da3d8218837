#include "quantize/solver.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/thread_pool.h"
#include "quantize/float_step.h"
#include "quantize/integer_step.h"
#include "quantize/local_search.h"
#include "quantize/projected_step.h"

namespace outrider::quantize {
namespace {

// A round that improves fewer of the rows than this is the last.
constexpr double kStop = 1e-4;
// The search for a smaller span: 160 parts of 1 / 200 from 1 down, every fourth first, then the neighbours of each
// row's best.
constexpr int kParts = 160, kCoarse = 4;

struct Candidate {
  std::vector<std::int8_t> q;
  Grid grid;
  std::vector<double> loss;
};

class Solver {
 public:
  Solver(const LayerTask& task, const Effort& effort, LayerResult* out)
      : task_(task),
        s_(task.shape),
        out_(*out),
        product_(effort),
        threads_(effort.threads),
        integer_(task.integer == nullptr ? own_ : *task.integer) {}

  Result run() {
    const auto weights = static_cast<std::size_t>(s_.M * s_.d);
    lost_ = Buffer(weights * sizeof(float));
    image_ = Buffer(weights * sizeof(float));
    if (!lost_ || !image_) return no_memory();
    out_.steps.clear();
    if (Result done = energy(); !done.ok()) return done;
    const Ranges ranges = ranges_of(task_.W, s_, threads_);
    const std::vector<float> whole(static_cast<std::size_t>(s_.M), 1.0f);
    spanning_grid(ranges, s_, whole, &out_.grid);
    out_.q.resize(weights);
    round_to_grid(task_.W, s_, out_.grid, threads_, out_.q.data());
    if (Result done = losses(out_.q, out_.grid, &out_.loss); !done.ok()) return done;
    note("round");
    if (task_.method == Method::kRound) return finish();

    if (task_.integer == nullptr) {
      if (Result done = own_.prepare(task_.H, s_, product_.effort()); !done.ok()) return done;
    }
    Candidate next;
    next.q.resize(weights);
    next.grid = out_.grid;
    double share = 0;
    if (Result done = integer_step(&next, &share); !done.ok()) return done;
    note("integer");
    if (task_.method == Method::kGptq) return finish();

    hw_ = Buffer(weights * sizeof(float));
    if (!hw_) return no_memory();
    if (Result done = product_.multiply(task_.W, s_.M, s_.d, statistics(), hw_.as<float>(), s_.d); !done.ok())
      return done;
    for (int round = 1; round < task_.rounds; ++round) {
      if (round == 1) {
        if (Result done = shrink(ranges, &next); !done.ok()) return done;
        if (Result done = float_step(task_.H, hw_.as<float>(), s_, next.q.data(), product_, &next.grid); !done.ok())
          return done;
      } else {
        next.grid = out_.grid;
      }
      double integers = 0, floats = 0;
      if (Result done = integer_step(&next, &integers); !done.ok()) return done;
      note("integer");
      next.q = out_.q;
      next.grid = out_.grid;
      if (Result done = float_step(task_.H, hw_.as<float>(), s_, next.q.data(), product_, &next.grid); !done.ok())
        return done;
      if (Result done = judge(&next, &floats); !done.ok()) return done;
      note("float");
      if (integers < kStop || floats < kStop) break;
    }
    return finish();
  }

 private:
  static Result no_memory() { return Result::error(Status::kMemory, "Cannot allocate memory to quantise a layer"); }

  [[nodiscard]] bool aborted() const { return task_.abort != nullptr && task_.abort->load(); }

  [[nodiscard]] View statistics() const { return {task_.H, s_.d, s_.d, s_.d}; }

  Result energy() {
    if (Result done = product_.multiply(task_.W, s_.M, s_.d, statistics(), image_.as<float>(), s_.d); !done.ok())
      return done;
    double sum = 0;
    for (long i = 0; i < s_.M * s_.d; ++i) sum += static_cast<double>(task_.W[i]) * image_.as<float>()[i];
    out_.energy = sum;
    return {};
  }

  void note(const char* name) {
    double sum = 0;
    for (const double loss : out_.loss) sum += loss;
    out_.steps.push_back({name, sum});
  }

  // (w^ - w0)^T H (w^ - w0) of every row.
  Result losses(const std::vector<std::int8_t>& q, const Grid& grid, std::vector<double>* loss) {
    if (aborted()) return Result::error(Status::kAborted, "aborted");
    float* const lost = lost_.as<float>();
    over_groups(s_, threads_, [&](long m, long g) {
      const auto at = static_cast<std::size_t>(m * s_.G + g);
      const float scale = grid.scale[at], zero = grid.zero[at];
      for (long i = m * s_.d + g * s_.group; i < m * s_.d + s_.group_end(g); ++i)
        lost[i] = scale * static_cast<float>(q[static_cast<std::size_t>(i)]) + zero - task_.W[i];
    });
    if (Result done = product_.multiply(lost, s_.M, s_.d, statistics(), image_.as<float>(), s_.d); !done.ok())
      return done;
    loss->resize(static_cast<std::size_t>(s_.M));
    parallel(threads_, [&](int index, int count) {
      const Share rows = share_of(s_.M, index, count);
      for (long m = rows.begin; m < rows.end; ++m) {
        double sum = 0;
        for (long i = m * s_.d; i < (m + 1) * s_.d; ++i) sum += static_cast<double>(lost[i]) * image_.as<float>()[i];
        (*loss)[static_cast<std::size_t>(m)] = sum;
      }
    });
    return {};
  }

  // Rows of `next` that lose less take the place of those there are; their share of all rows in *taken.
  Result judge(Candidate* next, double* taken) {
    if (Result done = losses(next->q, next->grid, &next->loss); !done.ok()) return done;
    long count = 0;
    for (long m = 0; m < s_.M; ++m) {
      const auto row = static_cast<std::size_t>(m);
      if (!(next->loss[row] < out_.loss[row])) continue;  // NaN is never better
      ++count;
      copy_row(*next, m);
    }
    *taken = static_cast<double>(count) / static_cast<double>(s_.M);
    return {};
  }

  void copy_row(const Candidate& from, long m) {
    std::copy_n(from.q.begin() + m * s_.d, s_.d, out_.q.begin() + m * s_.d);
    std::copy_n(from.grid.scale.begin() + m * s_.G, s_.G, out_.grid.scale.begin() + m * s_.G);
    std::copy_n(from.grid.zero.begin() + m * s_.G, s_.G, out_.grid.zero.begin() + m * s_.G);
    out_.loss[static_cast<std::size_t>(m)] = from.loss[static_cast<std::size_t>(m)];
  }

  // New codes on the grid of `next`, taken where they lose less.
  Result integer_step(Candidate* next, double* taken) {
    if (aborted()) return Result::error(Status::kAborted, "aborted");
    if (Result done = task_.projected ? projected_step(task_.H, task_.W, s_, next->grid, integer_.order(),
                                                       product_.effort(), next->q.data())
                                      : integer_.run(task_.W, s_, next->grid, product_, next->q.data());
        !done.ok()) {
      return done;
    }
    if (task_.method == Method::kDecoupleq) {
      if (Result done = losses(next->q, next->grid, &next->loss); !done.ok()) return done;
      local_search(task_.H, s_, next->grid, integer_.order(), threads_, image_.as<float>(), next->q.data());
    }
    return judge(next, taken);
  }

  // The part of each row's ranges whose grid loses least when weights are rounded to it; codes and grid of it in
  // `best`.
  Result shrink(const Ranges& ranges, Candidate* best) {
    const auto rows = static_cast<std::size_t>(s_.M);
    Candidate trial;
    trial.q.resize(best->q.size());
    std::vector<double> least(rows, std::numeric_limits<double>::infinity());
    std::vector<int> chosen(rows, 0);
    std::vector<float> part(rows);
    const auto attempt = [&](const auto& index_of) -> Result {
      for (std::size_t m = 0; m < rows; ++m) part[m] = 1.0f - static_cast<float>(index_of(m)) / 200.0f;
      spanning_grid(ranges, s_, part, &trial.grid);
      round_to_grid(task_.W, s_, trial.grid, threads_, trial.q.data());
      if (Result done = losses(trial.q, trial.grid, &trial.loss); !done.ok()) return done;
      for (std::size_t m = 0; m < rows; ++m) {
        if (!(trial.loss[m] < least[m])) continue;
        least[m] = trial.loss[m];
        chosen[m] = index_of(m);
      }
      return {};
    };
    for (int i = 0; i < kParts; i += kCoarse) {
      if (Result done = attempt([i](std::size_t) { return i; }); !done.ok()) return done;
    }
    const std::vector<int> coarse = chosen;
    for (int step = 1 - kCoarse; step < kCoarse; ++step) {
      if (step == 0) continue;
      if (Result done = attempt([&](std::size_t m) { return std::clamp(coarse[m] + step, 0, kParts - 1); }); !done.ok())
        return done;
    }
    for (std::size_t m = 0; m < rows; ++m) part[m] = 1.0f - static_cast<float>(chosen[m]) / 200.0f;
    spanning_grid(ranges, s_, part, &best->grid);
    round_to_grid(task_.W, s_, best->grid, threads_, best->q.data());
    double sum = 0;
    for (const double loss : least) sum += loss;
    out_.steps.push_back({"shrink", sum});
    return {};
  }

  Result finish() {
    if (!task_.f16_grid) return {};
    // New codes on the grid that files hold, where they lose less.
    if (Result done = to_f16(s_, &out_.grid); !done.ok()) return done;
    if (task_.method == Method::kRound) round_to_grid(task_.W, s_, out_.grid, threads_, out_.q.data());
    if (Result done = losses(out_.q, out_.grid, &out_.loss); !done.ok()) return done;
    note("f16");
    if (task_.method == Method::kRound) return {};
    Candidate next{out_.q, out_.grid, {}};
    double taken = 0;
    if (Result done = integer_step(&next, &taken); !done.ok()) return done;
    note("integer");
    return {};
  }

  const LayerTask& task_;
  const Shape& s_;
  LayerResult& out_;
  Product product_;
  int threads_;
  IntegerStep own_;
  const IntegerStep& integer_;
  Buffer lost_, image_, hw_;  // [M, d] each: w^ - w0, its product with H, W H
};

}  // namespace

void damp(float* H, long d, double part) {
  double mean = 0;
  for (long i = 0; i < d; ++i) mean += static_cast<double>(H[i * d + i]) / static_cast<double>(d);
  for (long i = 0; i < d; ++i) H[i * d + i] += static_cast<float>(part * mean);
}

Result solve_layer(const LayerTask& task, const Effort& effort, LayerResult* out) {
  const auto finite = [](const float* values, long count) {
    return std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
  };
  if (!finite(task.W, task.shape.M * task.shape.d))
    return Result::error(Status::kArgument, "Expected finite weights, received NaN or infinity");
  if (!finite(task.H, task.shape.d * task.shape.d))
    return Result::error(Status::kArgument, "Expected finite calibration statistics, received NaN or infinity");
  return Solver(task, effort, out).run();
}

}  // namespace outrider::quantize
