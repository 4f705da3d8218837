#include "quantize/adam.h"

#include <algorithm>
#include <cmath>

namespace outrider::quantize {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.99;

}  // namespace

Adam::Adam(std::vector<float>* values) : values_(*values), m_(values->size()), v_(values->size()) {
  double square = 0;
  for (const float value : values_) square += static_cast<double>(value) * value;
  size_ = std::sqrt(square / static_cast<double>(std::max<std::size_t>(1, values_.size())));
}

void Adam::step(const float* gradient, double rate, long t, double size) {
  const double by = rate * (size > 0 ? size : size_), first = 1 - std::pow(kBeta1, t), second = 1 - std::pow(kBeta2, t);
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const double g = gradient[i];
    m_[i] = static_cast<float>(kBeta1 * m_[i] + (1 - kBeta1) * g);
    v_[i] = static_cast<float>(kBeta2 * v_[i] + (1 - kBeta2) * g * g);
    const double root = std::sqrt(v_[i] / second);
    if (root > 0) values_[i] -= static_cast<float>(by * (m_[i] / first) / (root + 1e-12));
  }
}

}  // namespace outrider::quantize
