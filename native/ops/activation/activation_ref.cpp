#include <cmath>

#include "ops/activation/activation.h"

namespace outrider::ref {

void activation(const ops::ActivationArgs& args) {
  for (long i = 0; i < args.n; ++i) {
    const double x = args.gate[i];
    double y = 0;
    switch (args.kind) {
      case ops::Activation::kSilu:
        y = x / (1.0 + std::exp(-x));
        break;
      case ops::Activation::kGeluTanh:
        y = x / (1.0 + std::exp(-2.0 * 0.79788456080286536 * (x + 0.044715 * x * x * x)));
        break;
      case ops::Activation::kGelu:
        y = 0.5 * x * (1.0 + std::erf(x * 0.70710678118654752));
        break;
    }
    args.out[i] = static_cast<float>(y * args.up[i]);
  }
}

}  // namespace outrider::ref
