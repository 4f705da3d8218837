// Weights in memory: 16 outputs side by side in vector lanes, inputs one after the other.
//
// A matrix [rows, cols] (outputs x inputs) is cut into panels of 16 rows. f32 and f16 store a panel as [cols][16]
// values; bf16 as [cols / 2][16][2], two inputs side by side for two-way dot products, then [16] for the last one of an
// odd cols. Affine formats (w = scale * code + zero, code unsigned) store, for each group of inputs, in this order:
//
//   16 scales, 16 zeros      f16 or f32, lane r belongs to row r of the panel
//   blocks of 64 bytes       lane r (32 bits) holds the codes of row r: byte b, bit field p of lane r is the code of
//                            input  block * codes_per_block + 4 * p + b      (p = 0 for u8, 0..1 for u4, 0..3 for u2)
//
// Blocks of u3 are 192 bytes, three words of 32 bits a lane, for 32 inputs: fields 0 and 1 of word w are planes
// p = 2 w and 2 w + 1; the two bits above them are, in words 0 and 1, the low bits of planes 6 and 7, and in word 2
// their third bits. Six of eight planes need no more than a mask in dot products of one row.
//
// Where all zeros of a matrix are -zero_point * scale for one integer, as in most symmetric formats, no zeros are
// stored: 1 bit less for every weight of groups of 16 scales in f16, half a bit of groups of 32. f16 scales then come
// for two groups at once, before the blocks of both, so that blocks stay aligned to cache lines.
//
// So one 64-byte load feeds either four-way integer dot products (bytes of a lane are four consecutive inputs) or, byte
// by byte, float multiply-adds in input order. Each group is padded to whole blocks with code 0, and activations with
// 0. Rows past the end of the last panel have code, scale and zero 0. The obvious alternative, row-major codes, needs a
// horizontal sum per output and a reduction order that depends on the vector width; here lanes never meet.
#pragma once

#include <cstddef>
#include <cstdint>

namespace outrider {

enum class WeightFormat : std::uint8_t { kF32, kF16, kBF16, kU2, kU3, kU4, kU8 };

constexpr long kPanelRows = 16;

constexpr bool is_affine(WeightFormat format) { return format >= WeightFormat::kU2; }
constexpr int code_bits(WeightFormat format) {
  switch (format) {
    case WeightFormat::kU2:
      return 2;
    case WeightFormat::kU3:
      return 3;
    case WeightFormat::kU4:
      return 4;
    case WeightFormat::kU8:
      return 8;
    default:
      return 0;
  }
}
// Inputs in one block of an affine panel, and its bytes.
constexpr long codes_per_block(WeightFormat format) {
  return format == WeightFormat::kU3 ? 32 : 32 / code_bits(format);
}
constexpr long block_bytes(WeightFormat format) { return format == WeightFormat::kU3 ? 192 : 64; }

// Code k of a lane in a group, from that lane's part of the group's first block.
inline unsigned code_at(WeightFormat format, const std::uint8_t* codes, long k) {
  const long block = codes_per_block(format), plane = k % block / 4;
  const int bits = code_bits(format);
  const std::uint8_t* const byte = codes + k / block * block_bytes(format) + k % 4;
  if (format != WeightFormat::kU3) return static_cast<unsigned>(byte[0] >> plane * bits) & ((1u << bits) - 1);
  if (plane < 6) return static_cast<unsigned>(byte[plane / 2 * 64] >> plane % 2 * 3) & 7u;
  return static_cast<unsigned>(byte[(plane - 6) * 64] >> 6 | (byte[128] >> plane & 1) << 2);
}

// The smallest format for codes of that many bits: blocks of u3 are padded to more inputs than those of u4.
WeightFormat affine_format(int bits, long group, long cols);

// Where everything lies in a packed matrix. All sizes in bytes unless named otherwise.
struct PackedLayout {
  WeightFormat format = WeightFormat::kF32;
  bool f32_scales = false;
  int zero_point = 0;  // affine: 0 if zeros are stored, else zero = -zero_point * scale
  int shared = 0;      // affine: 1 if two groups share a header, 0 if each has its own
  long rows = 0, cols = 0;
  long panels = 0;
  long group = 0, groups = 0;              // affine: inputs per group and groups per row; dense: cols and 1
  long group_blocks = 0, last_blocks = 0;  // affine: blocks in a whole group, in the last group
  long padded_cols = 0;                    // inputs per row of prepared activations
  std::size_t header = 0;                  // scales and zeros, of two groups if shared
  std::size_t code_bytes = 0;              // of the blocks of a whole group
  std::size_t header_stride = 0;           // from one header of a panel to the next
  std::size_t panel_stride = 0;
  std::size_t total = 0;
};

// `group` >= cols or 0 means one group a row. Dense formats ignore the arguments after it, u2 and u3 ignore zero_point.
PackedLayout packed_layout(WeightFormat format, long rows, long cols, long group, bool f32_scales, int zero_point);

// Bytes from the start of a panel to the scales and to the codes of a group. Zeros follow the 16 scales.
struct GroupPlace {
  std::size_t scales, codes;
};
constexpr GroupPlace group_place(const PackedLayout& layout, long g) {
  const std::size_t start = static_cast<std::size_t>(g >> layout.shared) * layout.header_stride;
  const auto second = static_cast<std::size_t>(g & layout.shared);
  return {start + second * (layout.header / 2), start + layout.header + second * layout.code_bytes};
}
float affine_scale(const PackedLayout& layout, const std::byte* panel, long lane, long g);
float affine_zero(const PackedLayout& layout, const std::byte* panel, long lane, long g);

// True if every zero is -zero_point * scale.
bool has_zero_point(const float* scale, const float* zero, long count, int zero_point);

// Where input k of a dense panel's lane lies, in elements.
constexpr long dense_index(const PackedLayout& layout, long lane, long k) {
  const bool paired = layout.format == WeightFormat::kBF16 && (k | 1) < layout.cols;
  return paired ? ((k >> 1) * kPanelRows + lane) * 2 + (k & 1) : k * kPanelRows + lane;
}
float dense_value(const PackedLayout& layout, const std::byte* panel, long lane, long k);

struct PackedMatrix {
  PackedLayout layout;
  const std::byte* data = nullptr;
};

// Codes, scales and zeros of up to 16 consecutive rows, one code per byte.
struct AffinePanelSource {
  const std::uint8_t* codes;  // [rows, cols]
  const float* scale;         // [rows, groups]
  const float* zero;          // [rows, groups]; not read where the layout has a zero point
  long rows;
};
void pack_affine_panel(const PackedLayout& layout, const AffinePanelSource& source, std::byte* panel);

// Values of up to 16 rows in the layout's own element type, each row [cols] at its own address.
void pack_dense_panel(const PackedLayout& layout, const std::uint8_t* const* values, long rows, std::byte* panel);

// One row of codes of 2, 3, 4 or 8 bits as files hold them, lowest bits first, to one code per byte: [cols].
void unpack_codes(const std::uint8_t* row, long cols, int bits, std::uint8_t* codes);

// One row of a packed matrix as f32: [cols].
void unpack_row(const PackedMatrix& matrix, long row, float* out);

}  // namespace outrider
