// Gated activation of the MLP.
//
//   out[i] = act(gate[i]) * up[i]
//   silu(x) = x / (1 + exp(-x))
//   gelu_tanh(x) = x / (1 + exp(-2 u)),  u = sqrt(2 / pi) (x + 0.044715 x^3)     (the tanh form, rewritten)
//   gelu(x) = x (1 + erf(x / sqrt(2))) / 2
//
// Sources: arXiv:2002.05202 (gated linear units), arXiv:1606.08415 (gelu and its tanh form).
#pragma once

#include "cpu/level.h"

namespace outrider::ops {

enum class Activation : int { kSilu, kGeluTanh, kGelu };

struct ActivationArgs {
  Activation kind;
  const float* gate;  // [n]
  const float* up;    // [n]
  float* out;         // [n]; may be gate or up
  long n;
};

// Reentrant; elementwise. The vector gelu is within 3e-7 of the true value relative to max(1, |x|).
void activation(const ActivationArgs& args, Level level);
unsigned activation_levels();

}  // namespace outrider::ops

namespace outrider::ref {
void activation(const ops::ActivationArgs& args);
}
namespace outrider::avx2 {
void activation(const ops::ActivationArgs& args);
}
namespace outrider::avx512f {
void activation(const ops::ActivationArgs& args);
}
