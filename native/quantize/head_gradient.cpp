#include "quantize/head_gradient.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/softmax/softmax.h"
#include "quantize/norm_gradient.h"
#include "quantize/schedule.h"

namespace outrider::quantize {
namespace {

constexpr long kLogits = 1L << 26;  // held at a time, of each model

// Logits to probabilities in place; the logarithm of the sum of their exponentials.
double normalise(float* logits, long count, float scale, Level level) {
  const float* const top = std::max_element(logits, logits + count);
  const auto at = top - logits;
  const double highest = static_cast<double>(*top) * scale;
  ops::softmax({logits, logits, 1, count, scale, 0.0f}, level);
  return highest - std::log(static_cast<double>(logits[at]));
}

}  // namespace

HeadGradient::HeadGradient(long longest, long hidden, long vocab, float eps, float logit_scale, const Effort& effort)
    : longest_(longest),
      hidden_(hidden),
      vocab_(vocab),
      rows_(std::clamp(kLogits / vocab, 1L, longest)),
      eps_(eps),
      scale_(logit_scale),
      effort_(effort),
      product_(effort) {}

bool HeadGradient::allocate() {
  z_ = floats(longest_ * hidden_);
  dz_ = floats(longest_ * hidden_);
  dx_ = floats(longest_ * hidden_);
  logits_ = floats(rows_ * vocab_);
  teacher_logits_ = floats(rows_ * vocab_);
  return z_ && dz_ && dx_ && logits_ && teacher_logits_;
}

// Logits of a chunk of tokens into logits_, rows(begin, count) makes their gradients of them, and those go back.
template <typename Rows>
Result HeadGradient::each_chunk(const Task& task, bool train, const Rows& rows) {
  float *const z = z_.as<float>(), *const own = logits_.as<float>();
  norm_rows(task.x, task.norm, z, task.T, hidden_, eps_, effort_);
  const View head{task.head.w.as<float>(), vocab_, hidden_, hidden_};
  const View back{task.head.w.as<float>(), hidden_, vocab_, hidden_, true};
  for (long begin = 0; begin < task.T; begin += rows_) {
    if (task.abort != nullptr && task.abort->load()) return Result::error(Status::kAborted, "aborted");
    const long count = std::min(rows_, task.T - begin), at = begin * hidden_;
    if (Result done = product_.multiply(z + at, count, hidden_, head, own, vocab_, factors_); !done.ok()) return done;
    if (Result done = rows(begin, count); !done.ok()) return done;
    if (!train) continue;
    if (Result done = product_.multiply(own, count, vocab_, back, dz_.as<float>() + at, hidden_, factors_); !done.ok())
      return done;
  }
  if (train)
    norm_back(task.x, task.norm, dz_.as<float>(), task.T, hidden_, eps_, false, effort_, dx_.as<float>(), &d_norm_);
  return {};
}

Result HeadGradient::run(const Task& task, bool train, double* loss) {
  float *const own = logits_.as<float>(), *const teacher = teacher_logits_.as<float>();
  const View teacher_head{task.teacher_head.w.as<float>(), vocab_, hidden_, hidden_};
  std::vector<double> losses(static_cast<std::size_t>(task.T));
  const float by = scale_ / static_cast<float>(task.T);  // the gradient by logits is s (p - p*) / T
  const auto rows = [&](long begin, long count) -> Result {
    if (Result done = product_.multiply(task.teacher + begin * hidden_, count, hidden_, teacher_head, teacher, vocab_);
        !done.ok()) {
      return done;
    }
    parallel(effort_.threads, [&](int index, int threads) {
      const Share mine = share_of(count, index, threads);
      std::vector<float> apart(mine.begin < mine.end ? static_cast<std::size_t>(vocab_) : 0);
      for (long t = mine.begin; t < mine.end; ++t) {
        float *const p = own + t * vocab_, *const wanted = teacher + t * vocab_;
        for (long v = 0; v < vocab_; ++v) apart[static_cast<std::size_t>(v)] = wanted[v] - p[v];
        const double sum = normalise(p, vocab_, scale_, effort_.level),
                     wanted_sum = normalise(wanted, vocab_, scale_, effort_.level);
        double gap = 0;
        for (long v = 0; v < vocab_; ++v) gap += static_cast<double>(wanted[v]) * apart[static_cast<std::size_t>(v)];
        losses[static_cast<std::size_t>(begin + t)] = gap * static_cast<double>(scale_) + sum - wanted_sum;
        for (long v = 0; v < vocab_; ++v) p[v] = (p[v] - wanted[v]) * by;
      }
    });
    return {};
  };
  if (Result done = each_chunk(task, train, rows); !done.ok()) return done;
  *loss = std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(task.T);
  return {};
}

Result HeadGradient::draw(const Task& task, std::uint64_t seed, double* loss) {
  std::vector<double> losses(static_cast<std::size_t>(task.T));
  const auto rows = [&](long begin, long count) -> Result {
    over(count, effort_, [&](long t) {
      float* const p = logits_.as<float>() + t * vocab_;
      normalise(p, vocab_, scale_, effort_.level);
      std::uint64_t state = seed + static_cast<std::uint64_t>(begin + t);
      double left = static_cast<double>(next_random(&state) >> 11) * 0x1p-53;
      long token = 0;
      while (token + 1 < vocab_ && left >= static_cast<double>(p[token])) left -= static_cast<double>(p[token++]);
      losses[static_cast<std::size_t>(begin + t)] = -std::log(std::max(static_cast<double>(p[token]), 1e-30));
      p[token] -= 1;
      for (long v = 0; v < vocab_; ++v) p[v] *= scale_;
    });
    return {};
  };
  if (Result done = each_chunk(task, true, rows); !done.ok()) return done;
  *loss = std::accumulate(losses.begin(), losses.end(), 0.0);
  return {};
}

}  // namespace outrider::quantize
