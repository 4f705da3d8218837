// The integer step: codes for a given grid.
//
// Columns are rounded one after the other, in the order of falling diag(H); what a column lost is made good by those
// still free, which in closed form is optimal-brain surgery. With H' = R R^T, R upper triangular, the value that column
// i is rounded from is
//
//   w_i = w0_i + sum_{j<i} (w0_j - w^_j) R_ji / R_ii                    loss under H' = sum_i ((w_i - w^_i) R_ii)^2
//
// Sources: GPTQ (arXiv:2210.17323), section 3, in the form of LDLQ (QuIP, arXiv:2307.13304, section 3.1), which gives
// the same codes; decoupleQ (arXiv:2404.12759), section 3.2, with grids fixed before columns change places.
#pragma once

#include "quantize/factor.h"
#include "quantize/grid.h"
#include "quantize/product.h"

namespace outrider::quantize {

// The part of the step that depends on the statistics alone.
class IntegerStep {
 public:
  // H: [d, d], the damped statistics.
  Result prepare(const float* H, const Shape& shape, const Effort& effort);
  // Codes for the weights W [M, d] on `grid`; q: [M, d].
  Result run(const float* W, const Shape& shape, const Grid& grid, Product& product, std::int8_t* q) const;
  // Column of W that is rounded at each place. [d]
  [[nodiscard]] const std::vector<std::int32_t>& order() const { return order_; }
  [[nodiscard]] const Factor& parts() const { return factor_; }

 private:
  std::vector<std::int32_t> order_;
  Factor factor_;
};

}  // namespace outrider::quantize
