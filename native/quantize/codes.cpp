#include "quantize/codes.h"

#include <cstring>
#include <vector>

#include "formats/packed.h"

namespace outrider::quantize {

void store_codes(const Shape& s, const std::int8_t* q, std::uint8_t* out) {
  const long row_bytes = code_row_bytes(s);
  std::memset(out, 0, static_cast<std::size_t>(s.M * row_bytes));
  for (long m = 0; m < s.M; ++m) {
    std::uint8_t* const row = out + m * row_bytes;
    for (long k = 0; k < s.d; ++k) {
      const long at = k * s.bits;
      const int code = (q[m * s.d + k] - s.low()) << at % 8;
      row[at / 8] |= static_cast<std::uint8_t>(code);
      if (at % 8 + s.bits > 8) row[at / 8 + 1] |= static_cast<std::uint8_t>(code >> 8);
    }
  }
}

void read_codes(const Shape& s, const std::uint8_t* stored, std::int8_t* q) {
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(s.d));
  for (long m = 0; m < s.M; ++m) {
    unpack_codes(stored + m * code_row_bytes(s), s.d, s.bits, codes.data());
    for (long k = 0; k < s.d; ++k)
      q[m * s.d + k] = static_cast<std::int8_t>(codes[static_cast<std::size_t>(k)] + s.low());
  }
}

}  // namespace outrider::quantize
