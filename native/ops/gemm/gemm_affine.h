// Tiles of affine weights, included inside a level's region after gemm_tile.h.

// Read once for many products: the branch is free.
static inline F parameter(bool wide, const std::byte* at) {
  return wide ? f_load(reinterpret_cast<const float*>(at)) : f_load_f16(reinterpret_cast<const std::uint16_t*>(at));
}

// Plane `plane` of a block: the bytes of a lane are codes of four consecutive inputs. The block is loaded again for
// each plane, from L1, which leaves the registers to the accumulators.
template <WeightFormat kFormat>
static inline I plane_of(const std::byte* block, int plane) {
  constexpr int kBits = code_bits(kFormat);
  if constexpr (kFormat == WeightFormat::kU8) return i_load(block);
  if constexpr (kFormat != WeightFormat::kU3)
    return i_and(i_shift_right(i_load(block), plane * kBits), i_set1(kBits == 4 ? 0x0F0F0F0F : 0x03030303));
  if (plane < 6) return i_and(i_shift_right(i_load(block + plane / 2 * 64), plane % 2 * 3), i_set1(0x07070707));
  const I low = i_and(i_shift_right(i_load(block + (plane - 6) * 64), 6), i_set1(0x03030303));
  return i_or(low, i_and(i_shift_right(i_load(block + 128), plane - 2), i_set1(0x04040404)));
}

// One group in float mode: acc[r][p] = sum of code * x in input order.
template <WeightFormat kFormat, int R, int P>
static inline void group_float(const Row (&rows)[R], const std::byte* const (&codes)[P], long blocks, long at,
                               const Place& t, F (&acc)[R][P]) {
  constexpr int kPlanes = codes_per_block(kFormat) / 4;
  const I low = i_set1(0xFF);
  for (long block = 0; block < blocks; ++block) {
    const long first = at + block * codes_per_block(kFormat);
    OUTRIDER_UNROLL
    for (int plane = 0; plane < kPlanes; ++plane) {
      I bytes[P];
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) bytes[p] = plane_of<kFormat>(codes[p] + block * block_bytes(kFormat), plane);
      if (plane * 64 < block_bytes(kFormat)) ask_for<P>(codes, block * block_bytes(kFormat) + plane * 64, t);
      OUTRIDER_UNROLL
      for (int b = 0; b < 4; ++b) {
        F weight[P];
        OUTRIDER_UNROLL
        for (int p = 0; p < P; ++p) weight[p] = i_to_f(b == 3 ? bytes[p] : i_and(bytes[p], low));
        OUTRIDER_UNROLL
        for (int r = 0; r < R; ++r) {
          const F x = f_set1(rows[r].x[first + plane * 4 + b]);
          OUTRIDER_UNROLL
          for (int p = 0; p < P; ++p) acc[r][p] = f_fma(weight[p], x, acc[r][p]);
        }
        OUTRIDER_UNROLL
        for (int p = 0; p < P; ++p) bytes[p] = i_shift_right(bytes[p], 8);
      }
    }
  }
}

// Four consecutive int8 activations in every lane.
static inline I four_activations(const std::int8_t* q) {
  std::int32_t four;
  __builtin_memcpy(&four, q, 4);
  return i_set1(four);
}

#if defined(OUTRIDER_HAS_VNNI)
// One group in int8 mode, added to acc: the dot products are exact, so only their conversion to float needs an order.
template <WeightFormat kFormat, int R, int P>
static inline void group_int8(const Row (&rows)[R], const std::byte* const (&codes)[P], long blocks, long at,
                              const Place& t, I (&acc)[R][P]) {
  constexpr int kPlanes = codes_per_block(kFormat) / 4;
  for (long block = 0; block < blocks; ++block) {
    const long first = at + block * codes_per_block(kFormat);
    OUTRIDER_UNROLL
    for (int plane = 0; plane < kPlanes; ++plane) {
      I bytes[P];
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) bytes[p] = plane_of<kFormat>(codes[p] + block * block_bytes(kFormat), plane);
      if (plane * 64 < block_bytes(kFormat)) ask_for<P>(codes, block * block_bytes(kFormat) + plane * 64, t);
      OUTRIDER_UNROLL
      for (int r = 0; r < R; ++r) {
        const I x = four_activations(rows[r].q + first + plane * 4);
        OUTRIDER_UNROLL
        for (int p = 0; p < P; ++p) {
          acc[r][p] = i_dot4(acc[r][p], bytes[p], x);
        }
      }
    }
  }
}

// The same for one row: six of eight planes keep their place in the byte, three of them in a sum of their own that is
// eight times too large.
template <int P>
static inline void group_u3_row(const Row& row, const std::byte* const (&codes)[P], long blocks, long at,
                                const Place& t, I (&acc)[1][P]) {
  constexpr long kBytes = block_bytes(WeightFormat::kU3);
  I sums[P];
  OUTRIDER_UNROLL
  for (int p = 0; p < P; ++p) sums[p] = i_zero();
  for (long block = 0; block < blocks; ++block) {
    const std::int8_t* q = row.q + at + block * codes_per_block(WeightFormat::kU3);
    OUTRIDER_UNROLL
    for (long line = 0; line < kBytes; line += 64) ask_for<P>(codes, block * kBytes + line, t);
    OUTRIDER_UNROLL
    for (int plane = 0; plane < 8; ++plane) {
      const I x = four_activations(q + plane * 4);
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) {
        const std::byte* const from = codes[p] + block * kBytes;
        if (plane < 6 && plane % 2 == 1)
          sums[p] = i_dot4(sums[p], i_and(i_load(from + plane / 2 * 64), i_set1(0x38383838)), x);
        else
          acc[0][p] = i_dot4(acc[0][p], plane_of<WeightFormat::kU3>(from, plane), x);
      }
    }
  }
  OUTRIDER_UNROLL
  for (int p = 0; p < P; ++p) acc[0][p] = i_add(acc[0][p], i_shift_right_signed(sums[p], 3));
}

// The same for other formats: a plane keeps its place in the byte, so its sum is a
// multiple of a power of two that one shift at the end takes out again, exactly. No shifts in the loop, and as many
// independent sums as planes.
template <WeightFormat kFormat, int P>
static inline void group_int8_row(const Row& row, const std::byte* const (&codes)[P], long blocks, long at,
                                  const Place& t, I (&acc)[1][P]) {
  constexpr int kBits = code_bits(kFormat), kPlanes = 8 / kBits;
  constexpr std::uint32_t kField = kBits == 8 ? 0xFFFFFFFFu : kBits == 4 ? 0x0F0F0F0Fu : 0x03030303u;
  I sums[kPlanes][P];
  OUTRIDER_UNROLL
  for (int plane = 0; plane < kPlanes; ++plane) {
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) sums[plane][p] = i_zero();
  }
  for (long block = 0; block < blocks; ++block) {
    const std::int8_t* q = row.q + at + block * codes_per_block(kFormat);
    I raw[P];
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) raw[p] = i_load(codes[p] + block * 64);
    ask_for<P>(codes, block * 64, t);
    OUTRIDER_UNROLL
    for (int plane = 0; plane < kPlanes; ++plane) {
      const I x = four_activations(q + plane * 4), field = i_set1(static_cast<std::int32_t>(kField << plane * kBits));
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) {
        sums[plane][p] = i_dot4(sums[plane][p], kBits == 8 ? raw[p] : i_and(raw[p], field), x);
      }
    }
  }
  OUTRIDER_UNROLL
  for (int plane = 0; plane < kPlanes; ++plane) {
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) acc[0][p] = i_add(acc[0][p], i_shift_right_signed(sums[plane][p], plane * kBits));
  }
}

#else
// Sums of 16 bits over blocks [from, until) of a group; codes of 8 bits give the lower or the upper half of their bits.
template <WeightFormat kFormat, int kHalf, int R, int P>
static inline void sum_words(const Row (&rows)[R], const std::byte* const (&codes)[P], long from, long until, long at,
                             const Place& t, I (&words)[R][P]) {
  constexpr bool kHalves = code_bits(kFormat) == 8;
  constexpr int kPlanes = codes_per_block(kFormat) / 4;
  OUTRIDER_UNROLL
  for (int r = 0; r < R; ++r) {
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) words[r][p] = i_zero();
  }
  for (long block = from; block < until; ++block) {
    const long first = at + block * codes_per_block(kFormat);
    OUTRIDER_UNROLL
    for (int plane = 0; plane < kPlanes; ++plane) {
      if (kHalf == 0 && plane * 64 < block_bytes(kFormat))
        ask_for<P>(codes, block * block_bytes(kFormat) + plane * 64, t);
      I bytes[P];
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) {
        const I whole = plane_of<kFormat>(codes[p] + block * block_bytes(kFormat), plane);
        bytes[p] = kHalves ? i_and(i_shift_right(whole, kHalf * 4), i_set1(0x0F0F0F0F)) : whole;
      }
      OUTRIDER_UNROLL
      for (int r = 0; r < R; ++r) {
        const I x = four_activations(rows[r].q + first + plane * 4);
        OUTRIDER_UNROLL
        for (int p = 0; p < P; ++p) words[r][p] = i_dot2_words(words[r][p], bytes[p], x);
      }
    }
  }
}

// One group in int8 mode, added to acc, without byte products that sum in 32 bits: vpmaddubsw sums pairs of products in
// 16 bits, and several of those sums fit before they need widening if codes have few bits. Codes of 8 bits are two
// of 4.
template <WeightFormat kFormat, int R, int P>
static inline void group_int8(const Row (&rows)[R], const std::byte* const (&codes)[P], long blocks, long at,
                              const Place& t, I (&acc)[R][P]) {
  constexpr int kBits = code_bits(kFormat), kMost = (1 << (kBits == 8 ? 4 : kBits)) - 1;
  constexpr long kFits = 32767 / (2 * 127 * kMost) / (codes_per_block(kFormat) / 4);  // blocks
  static_assert(kFits > 0);
  const auto add = [&]<int kHalf>(long from, std::integral_constant<int, kHalf>) OUTRIDER_INLINE {
    I words[R][P];
    sum_words<kFormat, kHalf, R, P>(rows, codes, from, blocks < from + kFits ? blocks : from + kFits, at, t, words);
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) acc[r][p] = i_add_words(acc[r][p], words[r][p], 1 << (4 * kHalf));
    }
  };
  // The first round stands alone: it is the only one of common groups, and leaves the registers of acc to the words.
  add(0, std::integral_constant<int, 0>{});
  for (long from = kFits; from < blocks; from += kFits) add(from, std::integral_constant<int, 0>{});
  if constexpr (kBits == 8) {
    for (long from = 0; from < blocks; from += kFits) add(from, std::integral_constant<int, 1>{});
  }
}
#endif

// Groups [t.begin, t.end) of a tile. kZeroPoint: the layout has one.
template <WeightFormat kFormat, bool kInt8, bool kZeroPoint, int R, int P>
static inline void affine_tile(const ops::GemmArgs& args, const Row (&rows)[R], const std::byte* const (&w)[P],
                               const Place& t) {
  const PackedLayout& layout = args.w->layout;
  // Totals over groups. A large tile needs all registers for the sums of one group, so its totals stay in memory; the
  // barrier in the loop keeps the compiler from holding copies of them, which it would have to store as well.
  alignas(64) F storage[R][P];
  F(*total)[P] = storage;
  open_tile<R, P>(args, t, total);
  const bool wide = layout.f32_scales;
  [[maybe_unused]] const F minus = f_set1(static_cast<float>(-layout.zero_point));
  for (long g = t.begin; g < t.end; ++g) {
    if constexpr (kPieces * R * P > kRegisters / 4) __asm__ volatile("" : "+r"(total) : : "memory");
    const GroupPlace place = group_place(layout, g);
    const std::byte* codes[P];
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) codes[p] = w[p] + place.codes;
    const long blocks = g + 1 < layout.groups ? layout.group_blocks : layout.last_blocks;
    const long at = g * layout.group_blocks * codes_per_block(kFormat);
    using Sum = std::conditional_t<kInt8, I, F>;
    Sum acc[R][P];
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) {
        if constexpr (kInt8) {
          acc[r][p] = kZeroPoint ? i_set1(rows[r].start[g]) : i_zero();
        } else {
          acc[r][p] = f_zero();
        }
      }
    }
    if constexpr (!kInt8) {
      group_float<kFormat, R, P>(rows, codes, blocks, at, t, acc);
#if defined(OUTRIDER_HAS_VNNI)
    } else if constexpr (R == 1 && kFormat == WeightFormat::kU3) {
      group_u3_row<P>(rows[0], codes, blocks, at, t, acc);
    } else if constexpr (R == 1) {
      group_int8_row<kFormat, P>(rows[0], codes, blocks, at, t, acc);
#endif
    } else {
      group_int8<kFormat, R, P>(rows, codes, blocks, at, t, acc);
    }
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) {
      const F scale = parameter(wide, w[p] + place.scales);
      [[maybe_unused]] const F zero = kZeroPoint ? f_zero() : parameter(wide, w[p] + place.scales + layout.header / 2);
      OUTRIDER_UNROLL
      for (int r = 0; r < R; ++r) {
        F dot;
        if constexpr (kInt8) {
          dot = f_mul(i_to_f(acc[r][p]), f_set1(rows[r].scale[g]));
        } else {
          dot = kZeroPoint ? f_fma(minus, f_set1(rows[r].sum[g]), acc[r][p]) : acc[r][p];
        }
        const F sum = f_fma(scale, dot, total[r][p]);
        total[r][p] = kZeroPoint ? sum : f_fma(zero, f_set1(rows[r].sum[g]), sum);
      }
    }
  }
  close_tile<R, P>(args, t, total);
}
