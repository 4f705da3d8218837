// What a layer should be, given that its inputs are no longer those of the original model.
//
// The inputs X of a layer in the quantised model differ from Y, those of the same layer in the original, by what the
// matrices before it have lost. The weights that come nearest to the original's outputs on them,
//
//   minimise over V   |X V^T - Y W^T|^2 + damping      V = W + W (C - H) H'^-1,   C = Y^T X / n, H = X^T X / n
//
// are what is then quantised in place of W. Sources: GPTAQ (arXiv:2504.02692), section 3, "asymmetric calibration",
// and Qronos (arXiv:2505.11695), whose closed form this is; both go on to other solvers than ours.
#pragma once

#include "quantize/integer_step.h"

namespace outrider::quantize {

// W [M, d] becomes V. `difference`: C - H [d, d]; `step` was prepared for H, damped.
Result compensate(const float* difference, const IntegerStep& step, long M, long d, Product& product, float* W);

}  // namespace outrider::quantize
