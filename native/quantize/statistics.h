// What the inputs of a layer say about which errors of its weights matter.
#pragma once

#include "quantize/product.h"

namespace outrider::quantize {

// H = X^T X / n in f32 from X [n, d], rows d apart. Sums of 512 rows are taken in f32, their sums in float64.
Result second_moments(const float* X, long n, long d, Product& product, Buffer* H);
// C = Y^T X / n of Y and X [n, d] in the same way. [d, d]
Result cross_moments(const float* Y, const float* X, long n, long d, Product& product, Buffer* C);

}  // namespace outrider::quantize
