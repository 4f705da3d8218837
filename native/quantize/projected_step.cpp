#include "quantize/projected_step.h"

#include <algorithm>
#include <cmath>

#include "quantize/dense_steps.h"

namespace outrider::quantize {
namespace {

constexpr int kBefore = 50, kInner = 20;  // Adam steps before the first column is rounded, and after each
constexpr double kBeta1 = 0.9, kBeta2 = 0.999;
constexpr float kRate = 0.02f;  // of the root mean square of a row

class Row {
 public:
  Row(const float* H, const float* w0, const float* scale, const float* zero, const Shape& s,
      const std::vector<std::int32_t>& order)
      : H_(H),
        s_(s),
        order_(order),
        n_(static_cast<std::size_t>(s.d)),
        w0_(n_),
        w_(n_),
        low_(n_),
        high_(n_),
        scale_(n_),
        zero_(n_),
        m_(n_),
        v_(n_),
        gradient_(n_) {
    double square = 0;
    for (std::size_t i = 0; i < n_; ++i) {
      const auto column = order[i];
      scale_[i] = scale[column / s.group];
      zero_[i] = zero[column / s.group];
      const float a = scale_[i] * static_cast<float>(s.low()) + zero_[i],
                  b = scale_[i] * static_cast<float>(s.high()) + zero_[i];
      low_[i] = std::min(a, b);
      high_[i] = std::max(a, b);
      w0_[i] = w0[column];
      w_[i] = std::clamp(w0_[i], low_[i], high_[i]);
      square += static_cast<double>(w0_[i]) * w0_[i];
    }
    rate_ = kRate * static_cast<float>(std::sqrt(square / static_cast<double>(n_)));
  }

  void run(std::int8_t* q) {
    for (int i = 0; i < kBefore; ++i) step(0);
    for (std::size_t i = 0; i < n_; ++i) {
      const int code = nearest(w_[i], scale_[i], zero_[i], s_.low(), s_.high());
      q[order_[i]] = static_cast<std::int8_t>(code);
      w_[i] = scale_[i] * static_cast<float>(code) + zero_[i];
      for (int k = 0; k < kInner && i + 1 < n_; ++k) step(i + 1);
    }
  }

 private:
  // One step of the columns from `first` on.
  void step(std::size_t first) {
    std::fill(gradient_.begin(), gradient_.end(), 0.0f);
    for (std::size_t k = 0; k < n_; ++k) {
      const float lost = w_[k] - w0_[k];
      if (lost == 0) continue;
      const float* const row = H_ + static_cast<long>(order_[k]) * s_.d;
      for (std::size_t i = first; i < n_; ++i) gradient_[i] += lost * row[order_[i]];
    }
    first_ *= kBeta1;
    second_ *= kBeta2;
    for (std::size_t i = first; i < n_; ++i) {
      const double g = gradient_[i];
      m_[i] = kBeta1 * m_[i] + (1 - kBeta1) * g;
      v_[i] = kBeta2 * v_[i] + (1 - kBeta2) * g * g;
      const double root = std::sqrt(v_[i] / (1 - second_));
      if (!(root > 0)) continue;
      w_[i] = std::clamp(w_[i] - rate_ * static_cast<float>(m_[i] / (1 - first_) / root), low_[i], high_[i]);
    }
  }

  const float* H_;
  const Shape& s_;
  const std::vector<std::int32_t>& order_;
  std::size_t n_;
  std::vector<float> w0_, w_, low_, high_, scale_, zero_;
  std::vector<double> m_, v_;
  std::vector<float> gradient_;
  double first_ = 1, second_ = 1;  // beta^t
  float rate_ = 0;
};

}  // namespace

Result projected_step(const float* H, const float* W, const Shape& s, const Grid& grid,
                      const std::vector<std::int32_t>& order, const Effort& effort, std::int8_t* q) {
  over(s.M, effort, [&](long m) {
    Row(H, W + m * s.d, grid.scale.data() + m * s.G, grid.zero.data() + m * s.G, s, order).run(q + m * s.d);
  });
  return {};
}

}  // namespace outrider::quantize
