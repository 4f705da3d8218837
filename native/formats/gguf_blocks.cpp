// Blocks to codes, scales and zeros: what loading uses.
#include "formats/gguf_blocks.h"

#include <cstring>

#include "base/half.h"

namespace outrider {
namespace {

struct Block {
  std::size_t elements, bytes;
  AffineShape shape;
};

constexpr Block kBlocks[] = {{32, 18, {4, 32, 8}},   {32, 20, {4, 32, 0}},   {32, 22, {8, 32, 16}},
                             {32, 24, {8, 32, 0}},   {32, 34, {8, 32, 128}}, {256, 84, {2, 16, 0}},
                             {256, 110, {4, 16, 4}}, {256, 144, {4, 32, 0}}, {256, 176, {8, 32, 0}},
                             {256, 210, {8, 16, 32}}};

const Block& block_of(GgufType type) { return kBlocks[static_cast<int>(type)]; }

float half_at(const std::uint8_t* p) {
  std::uint16_t bits;
  std::memcpy(&bits, p, 2);
  return f16_to_f32(bits);
}

void nibbles(const std::uint8_t* q, std::uint8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = q[j] & 15;
    codes[j + 16] = q[j] >> 4;
  }
}

void fifth_bits(const std::uint8_t* bits, std::uint8_t* codes) {
  std::uint32_t high;
  std::memcpy(&high, bits, 4);
  for (int j = 0; j < 32; ++j) codes[j] |= static_cast<std::uint8_t>((high >> j & 1u) << 4);
}

// The eight 6-bit scales and minimums of q4_k and q5_k.
void six_bit_pairs(const std::uint8_t* p, std::uint8_t* s, std::uint8_t* t) {
  for (int j = 0; j < 4; ++j) {
    s[j] = p[j] & 63;
    t[j] = p[j + 4] & 63;
    s[j + 4] = static_cast<std::uint8_t>((p[j + 8] & 15) | (p[j] >> 6 << 4));
    t[j + 4] = static_cast<std::uint8_t>((p[j + 8] >> 4) | (p[j + 4] >> 6 << 4));
  }
}

void q2k(const std::uint8_t* b, std::uint8_t* codes, float* scale, float* zero) {
  const float d = half_at(b + 80), dmin = half_at(b + 82);
  for (int g = 0; g < 16; ++g) {
    scale[g] = d * static_cast<float>(b[g] & 15);
    zero[g] = -(dmin * static_cast<float>(b[g] >> 4));
  }
  for (int i = 0; i < 256; ++i) codes[i] = b[16 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

void q3k(const std::uint8_t* b, std::uint8_t* codes, float* scale, float* zero) {
  const std::uint8_t* s = b + 96;
  const float d = half_at(b + 108);
  for (int g = 0; g < 16; ++g) {
    const int low = g < 8 ? s[g] & 15 : s[g - 8] >> 4;
    const int value = (low | (s[8 + g % 4] >> (g / 4 * 2) & 3) << 4) - 32;
    scale[g] = d * static_cast<float>(value);
    zero[g] = scale[g] * -4.0f;
  }
  for (int i = 0; i < 256; ++i) {
    const int low = b[32 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
    codes[i] = static_cast<std::uint8_t>(low | (b[i % 32] >> (i / 32) & 1) << 2);
  }
}

// q4_k, and q5_k whose fifth bits lie between the scales and the nibbles.
void q45k(const std::uint8_t* b, bool five, std::uint8_t* codes, float* scale, float* zero) {
  const float d = half_at(b), dmin = half_at(b + 2);
  std::uint8_t s[8], t[8];
  six_bit_pairs(b + 4, s, t);
  const std::uint8_t* high = b + 16;
  const std::uint8_t* q = five ? b + 48 : b + 16;
  for (int g = 0; g < 8; ++g) {
    scale[g] = d * static_cast<float>(s[g]);
    zero[g] = -(dmin * static_cast<float>(t[g]));
    for (int l = 0; l < 32; ++l) {
      const int nibble = q[g / 2 * 32 + l] >> (g % 2 * 4) & 15;
      codes[g * 32 + l] = static_cast<std::uint8_t>(nibble | (five ? (high[l] >> g & 1) << 4 : 0));
    }
  }
}

void q6k(const std::uint8_t* b, std::uint8_t* codes, float* scale, float* zero) {
  const float d = half_at(b + 208);
  for (int g = 0; g < 16; ++g) {
    scale[g] = d * static_cast<float>(static_cast<std::int8_t>(b[192 + g]));
    zero[g] = scale[g] * -32.0f;
  }
  for (int i = 0; i < 256; ++i) {
    const int part = i / 128, quarter = i % 128 / 32, l = i % 32;
    const int low = b[part * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
    codes[i] = static_cast<std::uint8_t>(low | (b[128 + part * 32 + l] >> (quarter * 2) & 3) << 4);
  }
}

}  // namespace

AffineShape gguf_affine_shape(GgufType type) { return block_of(type).shape; }

std::size_t gguf_row_bytes(GgufType type, std::size_t cols) {
  const Block& block = block_of(type);
  return cols % block.elements == 0 ? cols / block.elements * block.bytes : 0;
}

void gguf_decode_affine(GgufType type, const std::uint8_t* row, std::size_t cols, std::uint8_t* codes, float* scale,
                        float* zero) {
  const Block& block = block_of(type);
  const std::size_t groups = block.elements / static_cast<std::size_t>(block.shape.group);
  for (std::size_t at = 0; at < cols; at += block.elements, row += block.bytes, codes += block.elements) {
    switch (type) {
      case GgufType::kQ4_0:
        *scale = half_at(row);
        *zero = *scale * -8.0f;
        nibbles(row + 2, codes);
        break;
      case GgufType::kQ4_1:
        *scale = half_at(row);
        *zero = half_at(row + 2);
        nibbles(row + 4, codes);
        break;
      case GgufType::kQ5_0:
        *scale = half_at(row);
        *zero = *scale * -16.0f;
        nibbles(row + 6, codes);
        fifth_bits(row + 2, codes);
        break;
      case GgufType::kQ5_1:
        *scale = half_at(row);
        *zero = half_at(row + 2);
        nibbles(row + 8, codes);
        fifth_bits(row + 4, codes);
        break;
      case GgufType::kQ8_0:
        *scale = half_at(row);
        *zero = *scale * -128.0f;
        for (int j = 0; j < 32; ++j) codes[j] = static_cast<std::uint8_t>(row[2 + j] ^ 0x80);  // q + 128
        break;
      case GgufType::kQ2K:
        q2k(row, codes, scale, zero);
        break;
      case GgufType::kQ3K:
        q3k(row, codes, scale, zero);
        break;
      case GgufType::kQ4K:
        q45k(row, false, codes, scale, zero);
        break;
      case GgufType::kQ5K:
        q45k(row, true, codes, scale, zero);
        break;
      case GgufType::kQ6K:
        q6k(row, codes, scale, zero);
        break;
    }
    scale += groups;
    zero += groups;
  }
}

}  // namespace outrider
