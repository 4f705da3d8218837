// The vector body, included inside a level's region by gemm_avx2.cpp and gemm_avx512.cpp, which define kTileInt8,
// kTileFloat (rows and panels of a tile) and kByteDots (i_dot4 takes codes of 8 bits without saturating).
//
// Panels are multiplied in tiles of R rows x P panels. One row takes four panels at a time: each is a stream of its own
// for the memory system. Several rows take fewer panels and reuse each decoded weight R times. Accumulators of a group
// live in registers; totals over groups are touched once per group. None of this changes the order of any output's sum.

// Activations of one tile row.
struct Row {
  const float* x;
  const std::int8_t* q;
  const float* scale;
  const float* sum;
};

template <bool kF32>
static inline F parameter(const std::byte* at) {
  return kF32 ? f_load(reinterpret_cast<const float*>(at)) : f_load_f16(reinterpret_cast<const std::uint16_t*>(at));
}

template <WeightFormat kFormat>
static inline F dense_weight(const std::byte* panel, long k) {
  if constexpr (kFormat == WeightFormat::kF32) return f_load(reinterpret_cast<const float*>(panel) + k * kPanelRows);
  const auto* values = reinterpret_cast<const std::uint16_t*>(panel) + k * kPanelRows;
  return kFormat == WeightFormat::kF16 ? f_load_f16(values) : f_load_bf16(values);
}

template <int R, int P>
static inline void store_tile(const ops::GemmArgs& args, long n, long panel, long step, const F (&total)[R][P]) {
  OUTRIDER_UNROLL
  for (int p = 0; p < P; ++p) {
    const long m = (panel + p * step) * kPanelRows;
    const long left = args.w->layout.rows - m;
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      float* out = args.out + (n + r) * args.out_stride + m;
      if (left >= kLanes) {
        f_store(out, args.bias == nullptr ? total[r][p] : f_add(total[r][p], f_load(args.bias + m)));
      } else {
        const F bias = args.bias == nullptr ? f_zero() : f_load_n(args.bias + m, static_cast<int>(left));
        f_store_n(out, args.bias == nullptr ? total[r][p] : f_add(total[r][p], bias), static_cast<int>(left));
      }
    }
  }
}

template <WeightFormat kFormat, int R, int P>
static inline void dense_tile(const ops::GemmArgs& args, const Row (&rows)[R], const std::byte* const (&w)[P], long n,
                              long panel, long step) {
  F acc[R][P];
  OUTRIDER_UNROLL
  for (int r = 0; r < R; ++r) {
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) acc[r][p] = f_zero();
  }
  const long K = args.w->layout.cols;
  for (long k = 0; k < K; ++k) {
    F weight[P];
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) weight[p] = dense_weight<kFormat>(w[p], k);
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      const F x = f_set1(rows[r].x[k]);
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) acc[r][p] = f_fma(weight[p], x, acc[r][p]);
    }
  }
  store_tile<R, P>(args, n, panel, step, acc);
}

// One group in float mode: acc[r][p] = sum of code * x in input order.
template <WeightFormat kFormat, int R, int P>
static inline void group_float(const Row (&rows)[R], const std::byte* const (&codes)[P], long blocks, long at,
                               F (&acc)[R][P]) {
  constexpr int kBits = code_bits(kFormat), kShift = kBits == 8 ? 0 : kBits;  // to the next plane
  const I field = i_set1(kBits == 8 ? -1 : kBits == 4 ? 0x0F0F0F0F : 0x03030303), low = i_set1(0xFF);
  for (long block = 0; block < blocks; ++block) {
    I raw[P];
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) raw[p] = i_load(codes[p] + block * 64);
    const long first = at + block * codes_per_block(kFormat);
    OUTRIDER_UNROLL
    for (int plane = 0; plane < 8 / kBits; ++plane) {
      I bytes[P];
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) bytes[p] = kBits == 8 ? raw[p] : i_and(raw[p], field);
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
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) raw[p] = i_shift_right(raw[p], kShift);
    }
  }
}

// Four consecutive int8 activations in every lane.
static inline I four_activations(const std::int8_t* q) {
  std::int32_t four;
  __builtin_memcpy(&four, q, 4);
  return i_set1(four);
}

// One group in int8 mode: the dot products are exact, so only their conversion to float needs an order. Blocks are
// loaded again for each plane, from L1, which leaves the registers to the accumulators.
template <WeightFormat kFormat, int R, int P>
static inline void group_int8(const Row (&rows)[R], const std::byte* const (&codes)[P], long blocks, long at,
                              I (&acc)[R][P]) {
  constexpr int kBits = code_bits(kFormat);
  const I field = i_set1(kBits == 8 ? -1 : kBits == 4 ? 0x0F0F0F0F : 0x03030303);
  for (long block = 0; block < blocks; ++block) {
    const long first = at + block * codes_per_block(kFormat);
    OUTRIDER_UNROLL
    for (int plane = 0; plane < 8 / kBits; ++plane) {
      I bytes[P];
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) {
        const I raw = i_load(codes[p] + block * 64);
        bytes[p] = kBits == 8 ? raw : i_and(i_shift_right(raw, plane * kBits), field);
      }
      OUTRIDER_UNROLL
      for (int r = 0; r < R; ++r) {
        const I x = four_activations(rows[r].q + first + plane * 4);
        OUTRIDER_UNROLL
        for (int p = 0; p < P; ++p) {
          acc[r][p] = kBits == 8 ? i_dot4(acc[r][p], bytes[p], x) : i_dot4_small(acc[r][p], bytes[p], x);
        }
      }
    }
  }
}

// The same for one row where the dot product takes whole bytes: a plane keeps its place in the byte, so its sum is a
// multiple of a power of two that one shift at the end takes out again, exactly. No shifts in the loop, and as many
// independent sums as planes.
template <WeightFormat kFormat, int P>
static inline void group_int8_row(const Row& row, const std::byte* const (&codes)[P], long blocks, long at,
                                  I (&acc)[1][P]) {
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

template <WeightFormat kFormat, bool kInt8, bool kF32Scales, int R, int P>
static inline void affine_tile(const ops::GemmArgs& args, const Row (&rows)[R], const std::byte* const (&w)[P], long n,
                               long panel, long step) {
  const PackedLayout& layout = args.w->layout;
  // Totals over groups. A large tile needs all registers for the sums of one group, so its totals stay in memory; the
  // barrier keeps the compiler from trying otherwise.
  alignas(64) F storage[R][P];
  F(*total)[P] = storage;
  if (R * P > 8) __asm__ volatile("" : "+r"(total));
  OUTRIDER_UNROLL
  for (int r = 0; r < R; ++r) {
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) total[r][p] = f_zero();
  }
  for (long g = 0; g < layout.groups; ++g) {
    const std::size_t offset = static_cast<std::size_t>(g) * layout.group_stride;
    const std::byte* codes[P];
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) codes[p] = w[p] + offset + layout.header;
    const long blocks = g + 1 < layout.groups ? layout.group_blocks : layout.last_blocks;
    const long at = g * layout.group_blocks * codes_per_block(kFormat);
    using Sum = std::conditional_t<kInt8, I, F>;
    Sum acc[R][P];
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) {
        if constexpr (kInt8) {
          acc[r][p] = i_zero();
        } else {
          acc[r][p] = f_zero();
        }
      }
    }
    if constexpr (!kInt8) {
      group_float<kFormat, R, P>(rows, codes, blocks, at, acc);
    } else if constexpr (R == 1 && kByteDots) {
      group_int8_row<kFormat, P>(rows[0], codes, blocks, at, acc);
    } else {
      group_int8<kFormat, R, P>(rows, codes, blocks, at, acc);
    }
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) {
      const F scale = parameter<kF32Scales>(w[p] + offset),
              zero = parameter<kF32Scales>(w[p] + offset + layout.header / 2);
      OUTRIDER_UNROLL
      for (int r = 0; r < R; ++r) {
        F dot;
        if constexpr (kInt8) {
          dot = f_mul(i_to_f(acc[r][p]), f_set1(rows[r].scale[g]));
        } else {
          dot = acc[r][p];
        }
        total[r][p] = f_fma(zero, f_set1(rows[r].sum[g]), f_fma(scale, dot, total[r][p]));
      }
    }
  }
  F result[R][P];
  OUTRIDER_UNROLL
  for (int r = 0; r < R; ++r) {
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) result[r][p] = total[r][p];
  }
  store_tile<R, P>(args, n, panel, step, result);
}

// kMode: 0 dense, 1 affine float, 2 affine int8.
template <WeightFormat kFormat, int kMode, bool kF32Scales, int R, int P>
static void tile(const ops::GemmArgs& args, long n, long panel, long step = 1) {
  const ops::GemmInput& in = *args.input;
  Row rows[R];
  for (int r = 0; r < R; ++r) {
    rows[r].x = kMode == 2 ? nullptr : in.x + (n + r) * in.padded_cols;
    rows[r].q = kMode == 2 ? in.q + (n + r) * in.padded_cols : nullptr;
    rows[r].scale = kMode == 2 ? in.scale + (n + r) * in.groups : nullptr;
    rows[r].sum = in.sum + (n + r) * in.groups;
  }
  const std::byte* w[P];
  for (int p = 0; p < P; ++p)
    w[p] = args.w->data + static_cast<std::size_t>(panel + p * step) * args.w->layout.panel_stride;
  if constexpr (kMode == 0) {
    dense_tile<kFormat, R, P>(args, rows, w, n, panel, step);
  } else {
    affine_tile<kFormat, kMode == 2, kF32Scales, R, P>(args, rows, w, n, panel, step);
  }
}

// The tile of `count` rows, at most R.
template <WeightFormat kFormat, int kMode, bool kF32Scales, int R, int P>
static void tile_of(const ops::GemmArgs& args, long n, long panel, long count) {
  if constexpr (R > 1) {
    if (count < R) return tile_of<kFormat, kMode, kF32Scales, R - 1, P>(args, n, panel, count);
  }
  tile<kFormat, kMode, kF32Scales, R, P>(args, n, panel);
}

// All rows in tiles of nearly equal height: 7 rows are 4 and 3, never 6 and 1.
template <WeightFormat kFormat, int kMode, bool kF32Scales, int R, int P>
static void strip(const ops::GemmArgs& args, long panel) {
  const long N = args.input->N, tiles = (N + R - 1) / R;
  for (long i = 0, n = 0; i < tiles; ++i) {
    const long next = N * (i + 1) / tiles;
    tile_of<kFormat, kMode, kF32Scales, R, P>(args, n, panel, next - n);
    n = next;
  }
}

template <WeightFormat kFormat, int kMode, bool kF32Scales>
static void multiply(const ops::GemmArgs& args) {
  constexpr Tile kTile = kMode == 2 ? kTileInt8 : kTileFloat;
  const long end = args.panel_end;
  long panel = args.panel_begin;
  if (args.input->N == 1) {
    // One row is bound by memory: four streams that run on from tile to tile, each through a quarter of the panels.
    const long quarter = (end - panel) / 4;
    for (long i = 0; i < quarter; ++i) tile<kFormat, kMode, kF32Scales, 1, 4>(args, 0, panel + i, quarter);
    panel += 4 * quarter;
    if (end - panel == 3) tile<kFormat, kMode, kF32Scales, 1, 3>(args, 0, panel);
    if (end - panel == 2) tile<kFormat, kMode, kF32Scales, 1, 2>(args, 0, panel);
    if (end - panel == 1) tile<kFormat, kMode, kF32Scales, 1, 1>(args, 0, panel);
    return;
  }
  for (; panel + kTile.panels <= end; panel += kTile.panels) {
    strip<kFormat, kMode, kF32Scales, kTile.rows, kTile.panels>(args, panel);
  }
  if constexpr (kTile.panels > 2) {
    for (; panel + 2 <= end; panel += 2) strip<kFormat, kMode, kF32Scales, kTile.rows, 2>(args, panel);
  }
  for (; panel < end; ++panel) strip<kFormat, kMode, kF32Scales, kTile.rows, 1>(args, panel);
}

template <WeightFormat kFormat>
static void multiply_affine(const ops::GemmArgs& args) {
  const bool wide_scales = args.w->layout.f32_scales;
  if (args.input->int8) {
    if (wide_scales)
      multiply<kFormat, 2, true>(args);
    else
      multiply<kFormat, 2, false>(args);
  } else {
    if (wide_scales)
      multiply<kFormat, 1, true>(args);
    else
      multiply<kFormat, 1, false>(args);
  }
}

void gemm(const ops::GemmArgs& args) {
  switch (args.w->layout.format) {
    case WeightFormat::kF32:
      return multiply<WeightFormat::kF32, 0, false>(args);
    case WeightFormat::kF16:
      return multiply<WeightFormat::kF16, 0, false>(args);
    case WeightFormat::kBF16:
      return multiply<WeightFormat::kBF16, 0, false>(args);
    case WeightFormat::kU2:
      return multiply_affine<WeightFormat::kU2>(args);
    case WeightFormat::kU4:
      return multiply_affine<WeightFormat::kU4>(args);
    case WeightFormat::kU8:
      return multiply_affine<WeightFormat::kU8>(args);
  }
}

// 16 activations from any of the three types; `left` of them exist.
static inline F load_activations(const ops::GemmPrepareArgs& args, long at, long left) {
  if (left >= kLanes) {
    if (args.x_type == DType::kF32) return f_load(static_cast<const float*>(args.x) + at);
    const auto* half = static_cast<const std::uint16_t*>(args.x) + at;
    return args.x_type == DType::kF16 ? f_load_f16(half) : f_load_bf16(half);
  }
  float lanes[kLanes] = {};
  for (long i = 0; i < left; ++i) lanes[i] = load_float(args.x, args.x_type, static_cast<std::size_t>(at + i));
  return f_load(lanes);
}

// 0 if all of a row is finite, NaN otherwise: one bad activation reaches every output anyway.
static inline float poison_of(const ops::GemmPrepareArgs& args, long x_at, long count) {
  F poison = f_zero();
  for (long k = 0; k < count; k += kLanes)
    poison = f_fma(load_activations(args, x_at + k, count - k), f_zero(), poison);
  return f_sum(poison);
}

static inline void quantise_group(const ops::GemmPrepareArgs& args, long x_at, long count, long padded, std::int8_t* q,
                                  float* scale, float* sum) {
  F largest = f_zero();
  for (long k = 0; k < count; k += kLanes) {
    largest = f_max(f_abs(load_activations(args, x_at + k, count - k)), largest);
  }
  const float top = f_max_lane(largest);
  const F inverse = f_set1(top > 0 ? 127.0f / top : 0.0f);
  I integers = i_zero();
  for (long k = 0; k < padded; k += kLanes) {
    const I rounded = f_to_i(f_mul(load_activations(args, x_at + k, count - k < 0 ? 0 : count - k), inverse));
    integers = i_add(integers, rounded);
    i_store_i8(q + k, rounded, padded - k < kLanes ? static_cast<int>(padded - k) : kLanes);
  }
  *scale = top / 127.0f;
  *sum = *scale * static_cast<float>(i_sum(integers));
}

void gemm_prepare(const ops::GemmPrepareArgs& args) {
  const PackedLayout& layout = *args.layout;
  ops::GemmInput& in = *args.input;
  const bool affine = is_affine(layout.format);
  const long padded_group = affine ? layout.group_blocks * codes_per_block(layout.format) : layout.cols;
  for (long n = args.row_begin; n < args.row_end; ++n) {
    if (const float bad = in.int8 ? poison_of(args, n * args.x_stride, layout.cols) : 0.0f; bad != 0) {
      for (long g = 0; g < layout.groups; ++g) in.scale[n * layout.groups + g] = in.sum[n * layout.groups + g] = bad;
      __builtin_memset(in.q + n * layout.padded_cols, 0, static_cast<std::size_t>(layout.padded_cols));
      continue;
    }
    for (long g = 0; g < layout.groups; ++g) {
      const long first = g * layout.group;
      const long count = first + layout.group <= layout.cols ? layout.group : layout.cols - first;
      const long x_at = n * args.x_stride + first;
      const long at = n * layout.padded_cols + g * padded_group;
      const long padded = g + 1 < layout.groups ? padded_group : layout.padded_cols - g * padded_group;
      const long row_group = n * layout.groups + g;
      if (in.int8) {
        quantise_group(args, x_at, count, padded, in.q + at, in.scale + row_group, in.sum + row_group);
        continue;
      }
      F sum = f_zero();
      for (long k = 0; k < padded; k += kLanes) {
        const F x = load_activations(args, x_at + k, count - k < 0 ? 0 : count - k);
        sum = f_add(sum, x);
        if (padded - k >= kLanes)
          f_store(in.x + at + k, x);
        else
          f_store_n(in.x + at + k, x, static_cast<int>(padded - k));
      }
      in.sum[row_group] = f_sum(sum);
    }
  }
}
