// The triangular factor that the optimal-brain recursion runs on.
#pragma once

#include <vector>

#include "base/status.h"

namespace outrider::quantize {

// H + t mean(diag H) I = R R^T with R upper triangular, in float64, for the first t of {0.01, 0.1, 1, 10, 100} that
// factors; R^-1 is the factor U of the inverse, H'^-1 = U^T U, that the recursion is usually written with.
struct Factor {
  long d = 0;
  double damping = 0;           // the t that was taken
  std::vector<double> root;     // [d] R_ii
  std::vector<float> feedback;  // [d, d] row j: R_ji / R_ii for i >= j, zeros before
};

// H: [d, d] symmetric, f32, in the order of the recursion. kNumeric if no t gives a positive definite matrix, which
// takes entries that are not finite or a zero matrix.
Result factor(const float* H, long d, int threads, Factor* out);

// x = H'^-1 x in float64, x [d] in the order of the recursion.
void solve(const Factor& factor, double* x);

}  // namespace outrider::quantize
