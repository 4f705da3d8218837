#include <cmath>

#include "ops/softmax/softmax.h"

namespace outrider::ref {

void softmax(const ops::SoftmaxArgs& args) {
  const auto score = [&args](float x) {
    const double s = static_cast<double>(args.scale) * x;
    return args.soft_cap > 0 ? args.soft_cap * std::tanh(s / args.soft_cap) : s;
  };
  for (long n = 0; n < args.N; ++n) {
    const float* x = args.x + n * args.K;
    float* out = args.out + n * args.K;
    double largest = -INFINITY, total = 0;
    for (long k = 0; k < args.K; ++k) largest = std::fmax(largest, score(x[k]));
    for (long k = 0; k < args.K; ++k) total += std::exp(score(x[k]) - largest);
    for (long k = 0; k < args.K; ++k) out[k] = static_cast<float>(std::exp(score(x[k]) - largest) / total);
  }
}

}  // namespace outrider::ref
