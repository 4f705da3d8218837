// Codes as files hold them: unsigned, lowest bits first, rows padded to whole bytes.
#pragma once

#include "quantize/grid.h"

namespace outrider::quantize {

inline long code_row_bytes(const Shape& shape) { return (shape.d * shape.bits + 7) / 8; }

// q: [M, d] from -2^(bits-1); out: [M, code_row_bytes]
void store_codes(const Shape& shape, const std::int8_t* q, std::uint8_t* out);
// The way back.
void read_codes(const Shape& shape, const std::uint8_t* stored, std::int8_t* q);

}  // namespace outrider::quantize
