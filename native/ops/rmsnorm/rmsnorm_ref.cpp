#include <cmath>

#include "ops/rmsnorm/rmsnorm.h"

namespace outrider::ref {

void rmsnorm(const ops::RmsnormArgs& args) {
  for (long n = 0; n < args.N; ++n) {
    const float* x = args.x + n * args.x_stride;
    float* out = args.out + n * args.out_stride;
    double sum = 0;
    for (long k = 0; k < args.K; ++k) sum += static_cast<double>(x[k]) * x[k];
    const double scale = 1.0 / std::sqrt(sum / static_cast<double>(args.K) + args.eps);
    for (long k = 0; k < args.K; ++k) {
      out[k] = static_cast<float>(x[k] * scale * (args.weight == nullptr ? 1.0f : args.weight[k]));
    }
  }
}

}  // namespace outrider::ref
