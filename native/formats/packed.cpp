#include "formats/packed.h"

#include <cstring>

#include "base/half.h"

namespace outrider {
namespace {

void store_parameter(const PackedLayout& layout, std::byte* at, long lane, float value) {
  if (layout.f32_scales) {
    reinterpret_cast<float*>(at)[lane] = value;
  } else {
    reinterpret_cast<f16*>(at)[lane] = f32_to_f16(value);
  }
}

float load_parameter(const PackedLayout& layout, const std::byte* at, long lane) {
  return layout.f32_scales ? reinterpret_cast<const float*>(at)[lane]
                           : f16_to_f32(reinterpret_cast<const f16*>(at)[lane]);
}

// One block of codes, one per byte, into the bits of a lane.
void pack_lane(const std::uint8_t* codes, WeightFormat format, std::uint8_t* lane) {
  const int bits = code_bits(format);
  const auto plane = [codes](int p) {
    std::uint32_t four;
    std::memcpy(&four, codes + 4 * p, 4);
    return four;
  };
  if (format == WeightFormat::kU3) {
    std::uint32_t word[3];
    for (int w = 0; w < 3; ++w) word[w] = plane(2 * w) | plane(2 * w + 1) << 3;
    for (int p = 6; p < 8; ++p) {
      word[p - 6] |= (plane(p) & 0x03030303u) << 6;
      word[2] |= (plane(p) >> 2 & 0x01010101u) << p;
    }
    for (int w = 0; w < 3; ++w) std::memcpy(lane + 64 * w, &word[w], 4);
    return;
  }
  std::uint32_t word = 0;
  for (int p = 0; p < 8 / bits; ++p) word |= plane(p) << (p * bits);
  std::memcpy(lane, &word, 4);
}

template <typename Bits>
void pack_dense(const PackedLayout& layout, const std::uint8_t* const* values, long rows, std::byte* panel) {
  auto* const out = reinterpret_cast<Bits*>(panel);
  for (long k = 0; k < layout.cols; ++k) {
    for (long r = 0; r < rows; ++r) {
      std::memcpy(out + dense_index(layout, r, k), values[r] + static_cast<std::size_t>(k) * sizeof(Bits),
                  sizeof(Bits));
    }
  }
}

}  // namespace

WeightFormat affine_format(int bits, long group, long cols) {
  if (bits != 3) return bits == 2 ? WeightFormat::kU2 : bits == 4 ? WeightFormat::kU4 : WeightFormat::kU8;
  const auto bytes = [group, cols](WeightFormat format) {
    return packed_layout(format, kPanelRows, cols, group, false, 0).total;
  };
  return bytes(WeightFormat::kU3) < bytes(WeightFormat::kU4) ? WeightFormat::kU3 : WeightFormat::kU4;
}

PackedLayout packed_layout(WeightFormat format, long rows, long cols, long group, bool f32_scales, int zero_point) {
  PackedLayout layout;
  layout.format = format;
  layout.rows = rows;
  layout.cols = cols;
  layout.panels = (rows + kPanelRows - 1) / kPanelRows;
  if (!is_affine(format)) {
    const std::size_t element = format == WeightFormat::kF32 ? 4 : 2;
    layout.group = cols;
    layout.groups = 1;
    layout.padded_cols = cols;
    layout.panel_stride = static_cast<std::size_t>(cols * kPanelRows) * element;
  } else {
    const long block = codes_per_block(format);
    layout.f32_scales = f32_scales;
    layout.group = group <= 0 || group > cols ? cols : group;
    layout.groups = (cols + layout.group - 1) / layout.group;
    layout.group_blocks = (layout.group + block - 1) / block;
    const long last = cols - (layout.groups - 1) * layout.group;
    layout.last_blocks = (last + block - 1) / block;
    layout.padded_cols = ((layout.groups - 1) * layout.group_blocks + layout.last_blocks) * block;
    layout.zero_point = format <= WeightFormat::kU3 ? 0 : zero_point;
    layout.shared = layout.zero_point != 0 && !f32_scales ? 1 : 0;
    layout.header = kPanelRows * (f32_scales && layout.zero_point != 0 ? 4 : f32_scales ? 8 : 4);
    layout.code_bytes = static_cast<std::size_t>(layout.group_blocks * block_bytes(format));
    layout.header_stride = layout.header + (layout.code_bytes << layout.shared);
    layout.panel_stride = group_place(layout, layout.groups - 1).codes +
                          static_cast<std::size_t>(layout.last_blocks * block_bytes(format));
  }
  layout.total = static_cast<std::size_t>(layout.panels) * layout.panel_stride;
  return layout;
}

void pack_affine_panel(const PackedLayout& layout, const AffinePanelSource& source, std::byte* panel) {
  std::memset(panel, 0, layout.panel_stride);
  const long block = codes_per_block(layout.format);
  for (long g = 0; g < layout.groups; ++g) {
    const GroupPlace place = group_place(layout, g);
    std::byte* scales = panel + place.scales;
    auto* codes = reinterpret_cast<std::uint8_t*>(panel + place.codes);
    const long first = g * layout.group;
    const long count = first + layout.group <= layout.cols ? layout.group : layout.cols - first;
    for (long r = 0; r < source.rows; ++r) {
      store_parameter(layout, scales, r, source.scale[r * layout.groups + g]);
      if (layout.zero_point == 0)
        store_parameter(layout, scales + layout.header / 2, r, source.zero[r * layout.groups + g]);
      const std::uint8_t* row = source.codes + r * layout.cols + first;
      std::uint8_t* lane = codes + r * 4;
      long k = 0;
      for (; k + block <= count; k += block, lane += block_bytes(layout.format))
        pack_lane(row + k, layout.format, lane);
      if (k == count) continue;
      std::uint8_t rest[32] = {};
      std::memcpy(rest, row + k, static_cast<std::size_t>(count - k));
      pack_lane(rest, layout.format, lane);
    }
  }
}

void pack_dense_panel(const PackedLayout& layout, const std::uint8_t* const* values, long rows, std::byte* panel) {
  if (rows < kPanelRows) std::memset(panel, 0, layout.panel_stride);
  if (layout.format == WeightFormat::kF32) {
    pack_dense<std::uint32_t>(layout, values, rows, panel);
  } else {
    pack_dense<std::uint16_t>(layout, values, rows, panel);
  }
}

float dense_value(const PackedLayout& layout, const std::byte* panel, long lane, long k) {
  const long at = dense_index(layout, lane, k);
  if (layout.format == WeightFormat::kF32) return reinterpret_cast<const float*>(panel)[at];
  const std::uint16_t bits = reinterpret_cast<const std::uint16_t*>(panel)[at];
  return layout.format == WeightFormat::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

float affine_scale(const PackedLayout& layout, const std::byte* panel, long lane, long g) {
  return load_parameter(layout, panel + group_place(layout, g).scales, lane);
}

float affine_zero(const PackedLayout& layout, const std::byte* panel, long lane, long g) {
  const std::byte* const scales = panel + group_place(layout, g).scales;
  return layout.zero_point == 0 ? load_parameter(layout, scales + layout.header / 2, lane)
                                : static_cast<float>(-layout.zero_point) * load_parameter(layout, scales, lane);
}

bool has_zero_point(const float* scale, const float* zero, long count, int zero_point) {
  for (long i = 0; i < count; ++i) {
    if (zero[i] != static_cast<float>(-zero_point) * scale[i]) return false;  // NaN too: it then stays a zero
  }
  return true;
}

void unpack_codes(const std::uint8_t* row, long cols, int bits, std::uint8_t* codes) {
  if (bits == 8) {
    std::memcpy(codes, row, static_cast<std::size_t>(cols));
    return;
  }
  if (bits == 3) {
    for (long k = 0; k < cols; ++k) {
      const long at = 3 * k;
      const int low = row[at / 8] >> at % 8, high = at % 8 > 5 ? row[at / 8 + 1] << (8 - at % 8) : 0;
      codes[k] = static_cast<std::uint8_t>((low | high) & 7);
    }
    return;
  }
  const long per_byte = 8 / bits;
  const std::uint64_t mask = bits == 4 ? 0x0F0Fu : 0x03030303u;
  long k = 0;
  for (; k + per_byte <= cols; k += per_byte) {
    // Spread the codes of a byte over bytes: each doubling of the distance leaves every other one in place.
    std::uint32_t word = row[k / per_byte];
    if (bits == 2) word = (word | word << 12) & 0x000F000Fu;
    word = bits == 2 ? (word | word << 6) : (word | word << 4);
    word &= static_cast<std::uint32_t>(mask);
    std::memcpy(codes + k, &word, static_cast<std::size_t>(per_byte));
  }
  for (; k < cols; ++k) {
    codes[k] = static_cast<std::uint8_t>(row[k / per_byte] >> (k % per_byte * bits) & static_cast<int>(mask & 0xFFu));
  }
}

void unpack_row(const PackedMatrix& matrix, long row, float* out) {
  const PackedLayout& layout = matrix.layout;
  const std::byte* panel = matrix.data + static_cast<std::size_t>(row / kPanelRows) * layout.panel_stride;
  const long lane = row % kPanelRows;
  if (!is_affine(layout.format)) {
    for (long k = 0; k < layout.cols; ++k) out[k] = dense_value(layout, panel, lane, k);
    return;
  }
  for (long g = 0; g < layout.groups; ++g) {
    const float scale = affine_scale(layout, panel, lane, g), zero = affine_zero(layout, panel, lane, g);
    const auto* codes = reinterpret_cast<const std::uint8_t*>(panel + group_place(layout, g).codes) + lane * 4;
    const long first = g * layout.group;
    const long count = first + layout.group <= layout.cols ? layout.group : layout.cols - first;
    for (long k = 0; k < count; ++k) {
      out[first + k] = scale * static_cast<float>(code_at(layout.format, codes, k)) + zero;
    }
  }
}

}  // namespace outrider
