// The block formats of GGUF files and their mapping into the affine family  w = scale * code + zero.
//
// A row of a matrix is a run of blocks. d, m and dmin are f16 factors of the block; "nibble j" of a byte run holds
// element j in the low half of byte j and element j + half in the high half unless said otherwise.
//
//   type  elements bytes  layout                                            value
//   q4_0     32     18    d, 16 nibble bytes                                d (q - 8)
//   q4_1     32     20    d, m, 16 nibble bytes                             d q + m
//   q5_0     32     22    d, 32 fifth bits, 16 nibble bytes                 d (q - 16)
//   q5_1     32     24    d, m, 32 fifth bits, 16 nibble bytes              d q + m
//   q8_0     32     34    d, 32 signed bytes                                d q
//   q2_k    256     84    16 bytes (scale, min nibbles), 64 bytes, d, dmin  d s q - dmin t
//   q3_k    256    110    32 third bits, 64 bytes, 12 bytes of 6-bit s, d   d (s - 32) (q - 4)
//   q4_k    256    144    d, dmin, 12 bytes of 6-bit s and t, 128 bytes     d s q - dmin t
//   q5_k    256    176    d, dmin, 12 bytes, 32 fifth bits, 128 bytes       d s q - dmin t
//   q6_k    256    210    128 low nibbles, 64 bytes of upper bits, 16 signed s, d   d s (q - 32)
//
// The mapping is exact in f32: a product of an f16 (11 significant bits) and an integer below 2^9 has at most 20 bits.
// The 32-element types stay exact with f16 scale and zero too (the zero is d times a power of two) unless 128 d
// overflows f16; the K types need f32 scales. Only the final  scale * code + zero  of a decoded value rounds, once or
// twice, in f32.
#pragma once

#include <cstddef>
#include <cstdint>

namespace outrider {

// The first five may keep f16 scales; the K types may not.
enum class GgufType : std::uint8_t { kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0, kQ2K, kQ3K, kQ4K, kQ5K, kQ6K };

struct AffineShape {
  int bits;        // 2, 4 or 8
  int group;       // 16 or 32
  int zero_point;  // zero = -zero_point * scale in every group; 0 if the blocks have zeros of their own
};
AffineShape gguf_affine_shape(GgufType type);

// Bytes of a row; 0 if cols is not a positive multiple of the block.
std::size_t gguf_row_bytes(GgufType type, std::size_t cols);

// codes: [cols], one per byte. scale, zero: [cols / group].
void gguf_decode_affine(GgufType type, const std::uint8_t* row, std::size_t cols, std::uint8_t* codes, float* scale,
                        float* zero);

// The definition, element by element; the yardstick of the mapping. [cols]
void gguf_decode_floats(GgufType type, const std::uint8_t* row, std::size_t cols, float* out);

}  // namespace outrider
