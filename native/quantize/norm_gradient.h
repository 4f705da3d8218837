// Gradients of root-mean-square normalisation.
#pragma once

#include <vector>

#include "quantize/product.h"

namespace outrider::quantize {

// y = x r w with r = 1 / sqrt(mean(x^2) + eps), rows of K:  dx = r (w dy - x r^2 mean(w dy x)),  dw = sum over rows of
// dy x r. dx is replaced or added to; it may be dy. The bits of dw do not depend on threads.
void norm_back(const float* x, const std::vector<float>& w, const float* dy, long rows, long K, float eps, bool add,
               const Effort& effort, float* dx, std::vector<float>* dw);

}  // namespace outrider::quantize
