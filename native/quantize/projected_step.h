// The integer step that decoupleQ calls its first level: slower than the recursion of integer_step.h, with the box
// kept.
//
// Columns are rounded one after the other; those still free are relaxed to real numbers but stay between their lowest
// and highest level, and move by projected Adam to make good what rounding lost. Cost M d^3: for small d. Source:
// decoupleQ (arXiv:2404.12759), section 3.2; Adam: arXiv:1412.6980, algorithm 1.
#pragma once

#include "quantize/integer_step.h"

namespace outrider::quantize {

// H: [d, d]; W and q: [M, d]; columns in the order of `order`, [d].
Result projected_step(const float* H, const float* W, const Shape& shape, const Grid& grid,
                      const std::vector<std::int32_t>& order, const Effort& effort, std::int8_t* q);

}  // namespace outrider::quantize
