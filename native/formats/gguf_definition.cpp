// gguf_decode_floats: each format as its definition reads, walked in the order the bytes lie. Slow, plain, and
// independent of the mapping in gguf_blocks.cpp, which tests hold against it.
#include <cstring>

#include "base/half.h"
#include "formats/gguf_blocks.h"

namespace outrider {
namespace {

float take_half(const std::uint8_t*& p) {
  std::uint16_t bits;
  std::memcpy(&bits, p, 2);
  p += 2;
  return f16_to_f32(bits);
}

void small_block(const std::uint8_t* p, float* out, bool has_minimum, bool has_fifth, int offset) {
  const float d = take_half(p), m = has_minimum ? take_half(p) : 0.0f;
  std::uint32_t fifth = 0;
  if (has_fifth) {
    std::memcpy(&fifth, p, 4);
    p += 4;
  }
  for (int j = 0; j < 16; ++j) {
    const int low = (p[j] & 0x0F) + (fifth & (1u << j) ? 16 : 0);
    const int high = (p[j] >> 4) + (fifth & (1u << (j + 16)) ? 16 : 0);
    out[j] = static_cast<float>(low - offset) * d + m;
    out[j + 16] = static_cast<float>(high - offset) * d + m;
  }
}

void q2k(const std::uint8_t* p, float* out) {
  const std::uint8_t* scales = p;
  const std::uint8_t* q = p + 16;
  const std::uint8_t* factors = p + 80;
  const float d = take_half(factors), dmin = take_half(factors);
  for (int half = 0; half < 2; ++half, q += 32) {
    for (int shift = 0; shift < 8; shift += 2) {
      for (int part = 0; part < 2; ++part) {
        const std::uint8_t sc = *scales++;
        for (int l = 0; l < 16; ++l) {
          *out++ = d * static_cast<float>(sc & 0xF) * static_cast<float>(q[16 * part + l] >> shift & 3) -
                   dmin * static_cast<float>(sc >> 4);
        }
      }
    }
  }
}

void q3k(const std::uint8_t* p, float* out) {
  const std::uint8_t* mask = p;
  const std::uint8_t* q = p + 32;
  const std::uint8_t* packed = p + 96;
  const std::uint8_t* factors = p + 108;
  const float d = take_half(factors);
  int scales[16];
  for (int i = 0; i < 4; ++i) {
    scales[i] = (packed[i] & 15) | (packed[8 + i] & 3) << 4;
    scales[i + 4] = (packed[i + 4] & 15) | (packed[8 + i] >> 2 & 3) << 4;
    scales[i + 8] = packed[i] >> 4 | (packed[8 + i] >> 4 & 3) << 4;
    scales[i + 12] = packed[i + 4] >> 4 | (packed[8 + i] >> 6) << 4;
  }
  int next = 0;
  std::uint8_t bit = 1;
  for (int half = 0; half < 2; ++half, q += 32) {
    for (int shift = 0; shift < 8; shift += 2, bit = static_cast<std::uint8_t>(bit << 1)) {
      for (int part = 0; part < 2; ++part) {
        const float factor = d * static_cast<float>(scales[next++] - 32);
        for (int l = 16 * part; l < 16 * part + 16; ++l) {
          *out++ = factor * static_cast<float>((q[l] >> shift & 3) - (mask[l] & bit ? 0 : 4));
        }
      }
    }
  }
}

// One 6-bit (scale, minimum) pair of q4_k and q5_k.
void pair_of(const std::uint8_t* p, int j, int* s, int* t) {
  if (j < 4) {
    *s = p[j] & 63;
    *t = p[j + 4] & 63;
  } else {
    *s = (p[j + 4] & 0xF) | ((p[j - 4] >> 6) << 4);
    *t = (p[j + 4] >> 4) | ((p[j] >> 6) << 4);
  }
}

void q45k(const std::uint8_t* p, bool five, float* out) {
  const float d = take_half(p), dmin = take_half(p);
  const std::uint8_t* scales = p;
  const std::uint8_t* fifth = p + 12;
  const std::uint8_t* q = five ? p + 44 : p + 12;
  for (int j = 0; j < 8; j += 2, q += 32) {
    for (int upper = 0; upper < 2; ++upper) {
      int s, t;
      pair_of(scales, j + upper, &s, &t);
      const float factor = d * static_cast<float>(s), minimum = dmin * static_cast<float>(t);
      for (int l = 0; l < 32; ++l) {
        int value = upper ? q[l] >> 4 : q[l] & 0xF;
        if (five && (fifth[l] & (1 << (j + upper)))) value += 16;
        *out++ = factor * static_cast<float>(value) - minimum;
      }
    }
  }
}

void q6k(const std::uint8_t* p, float* out) {
  const std::uint8_t* low = p;
  const std::uint8_t* high = p + 128;
  const auto* scales = reinterpret_cast<const std::int8_t*>(p + 192);
  const std::uint8_t* factors = p + 208;
  const float d = take_half(factors);
  for (int half = 0; half < 2; ++half, low += 64, high += 32, scales += 8, out += 128) {
    for (int l = 0; l < 32; ++l) {
      const int s = l / 16;
      out[l] = d * scales[s] * static_cast<float>(((low[l] & 0xF) | (high[l] & 3) << 4) - 32);
      out[l + 32] = d * scales[s + 2] * static_cast<float>(((low[l + 32] & 0xF) | (high[l] >> 2 & 3) << 4) - 32);
      out[l + 64] = d * scales[s + 4] * static_cast<float>((low[l] >> 4 | (high[l] >> 4 & 3) << 4) - 32);
      out[l + 96] = d * scales[s + 6] * static_cast<float>((low[l + 32] >> 4 | (high[l] >> 6) << 4) - 32);
    }
  }
}

}  // namespace

void gguf_decode_floats(GgufType type, const std::uint8_t* row, std::size_t cols, float* out) {
  const std::size_t elements = type < GgufType::kQ2K ? 32 : 256;
  const std::size_t bytes = gguf_row_bytes(type, elements);
  for (std::size_t at = 0; at < cols; at += elements, row += bytes, out += elements) {
    switch (type) {
      case GgufType::kQ4_0:
        small_block(row, out, false, false, 8);
        break;
      case GgufType::kQ4_1:
        small_block(row, out, true, false, 0);
        break;
      case GgufType::kQ5_0:
        small_block(row, out, false, true, 16);
        break;
      case GgufType::kQ5_1:
        small_block(row, out, true, true, 0);
        break;
      case GgufType::kQ8_0: {
        const std::uint8_t* p = row;
        const float d = take_half(p);
        for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(static_cast<std::int8_t>(p[j]));
        break;
      }
      case GgufType::kQ2K:
        q2k(row, out);
        break;
      case GgufType::kQ3K:
        q3k(row, out);
        break;
      case GgufType::kQ4K:
        q45k(row, false, out);
        break;
      case GgufType::kQ5K:
        q45k(row, true, out);
        break;
      case GgufType::kQ6K:
        q6k(row, out);
        break;
    }
  }
}

}  // namespace outrider
