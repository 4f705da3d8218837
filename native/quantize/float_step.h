// The floating step: the best scales and zeros for given codes, in closed form.
//
// With q fixed the loss (w^ - w0)^T H (w^ - w0) is a least-squares problem in the 2 G numbers x = (s_1..s_G, z_1..z_G)
// of a row: w^ = B^T x with row j of B the codes of group j, row G + j its indicator, and
//
//   P x = y,   P = B H B^T,   y = B H w0
//
// solved in float64. Source: decoupleQ (arXiv:2404.12759), section 3.3.
#pragma once

#include "quantize/grid.h"
#include "quantize/product.h"

namespace outrider::quantize {

// H: [d, d] symmetric; HW: [M, d] = W H; q: [M, d]. Rows whose system cannot be solved keep what `grid` held.
Result float_step(const float* H, const float* HW, const Shape& shape, const std::int8_t* q, Product& product,
                  Grid* grid);

}  // namespace outrider::quantize
