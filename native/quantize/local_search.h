// Codes that no single change improves.
//
// The optimal-brain recursion rounds each column once and never looks back. Here every column is set, again and again,
// to the level that loses least while all others stay: with r = H (w^ - w0) that is the level nearest to w^_k - r_k /
// H_kk. Coordinate descent on the same loss; it ends where a sweep changes nothing.
#pragma once

#include "quantize/grid.h"

namespace outrider::quantize {

// q: [M, d], improved in place; image: [M, d] = (w^ - w0) H for q on `grid`, spoilt. `order`: the columns, [d].
void local_search(const float* H, const Shape& shape, const Grid& grid, const std::vector<std::int32_t>& order,
                  int threads, float* image, std::int8_t* q);

}  // namespace outrider::quantize
