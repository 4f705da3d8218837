#include <cmath>

#include "ops/layernorm/layernorm.h"

namespace outrider::ref {

void layernorm(const ops::LayernormArgs& args) {
  const auto count = static_cast<double>(args.K);
  for (long n = 0; n < args.N; ++n) {
    const float* x = args.x + n * args.K;
    float* out = args.out + n * args.K;
    double mean = 0, variance = 0;
    for (long k = 0; k < args.K; ++k) mean += x[k];
    mean /= count;
    for (long k = 0; k < args.K; ++k) variance += (x[k] - mean) * (x[k] - mean);
    const double scale = 1.0 / std::sqrt(variance / count + args.eps);
    for (long k = 0; k < args.K; ++k) {
      const double weight = args.weight == nullptr ? 1.0 : args.weight[k];
      const double bias = args.bias == nullptr ? 0.0 : args.bias[k];
      out[k] = static_cast<float>((x[k] - mean) * scale * weight + bias);
    }
  }
}

}  // namespace outrider::ref
