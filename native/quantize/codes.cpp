#include "quantize/codes.h"

#include <cstring>

namespace outrider::quantize {

void store_codes(const Shape& s, const std::int8_t* q, std::uint8_t* out) {
  const int bits = stored_bits(s.bits);
  const long row_bytes = code_row_bytes(s);
  std::memset(out, 0, static_cast<std::size_t>(s.M * row_bytes));
  for (long m = 0; m < s.M; ++m) {
    for (long k = 0; k < s.d; ++k) {
      const int code = q[m * s.d + k] - s.low();
      out[m * row_bytes + k * bits / 8] |= static_cast<std::uint8_t>(code << (k * bits % 8));
    }
  }
}

bool read_codes(const Shape& s, const std::uint8_t* stored, std::int8_t* q) {
  const int bits = stored_bits(s.bits), mask = (1 << bits) - 1, most = s.high() - s.low();
  const long row_bytes = code_row_bytes(s);
  bool fits = true;
  for (long m = 0; m < s.M; ++m) {
    for (long k = 0; k < s.d; ++k) {
      const int code = stored[m * row_bytes + k * bits / 8] >> (k * bits % 8) & mask;
      fits = fits && code <= most;
      q[m * s.d + k] = static_cast<std::int8_t>(code + s.low());
    }
  }
  return fits;
}

}  // namespace outrider::quantize
