// Codes as files hold them: unsigned, lowest bits first, rows padded to whole bytes; 3 bits take the room of 4.
#pragma once

#include "quantize/grid.h"

namespace outrider::quantize {

constexpr int stored_bits(int bits) { return bits == 3 ? 4 : bits; }
inline long code_row_bytes(const Shape& shape) { return (shape.d * stored_bits(shape.bits) + 7) / 8; }

// q: [M, d] from -2^(bits-1); out: [M, code_row_bytes]
void store_codes(const Shape& shape, const std::int8_t* q, std::uint8_t* out);
// The way back. False if a code has more bits than it may.
bool read_codes(const Shape& shape, const std::uint8_t* stored, std::int8_t* q);

}  // namespace outrider::quantize
