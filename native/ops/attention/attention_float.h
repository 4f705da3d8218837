// Blocks in f32 arithmetic, whatever the pages hold. Included inside a level's region, which defines kTile, the query
// rows that share each load.
//
// Scores are [rows][4 vectors of 16 tokens], summed over channels in order; the weighted sum of values runs token by
// token with channels in lanes. Each query row does exactly the operations it would do alone.

// The half of each bf16 pair that `odd` names.
static inline F pair_half(const std::uint16_t* pairs, long odd) {
  const I both = i_load(pairs);
  return i_as_f(odd != 0 ? i_and(both, i_set1(static_cast<std::int32_t>(0xFFFF0000u))) : i_shift_left(both, 16));
}

// Channel d of 16 tokens from `slot` on.
template <DType kType>
static inline F load_keys(const std::byte* page, long D, long d, long slot) {
  if constexpr (kType == DType::kF32) return f_load(reinterpret_cast<const float*>(page) + d * kPageTokens + slot);
  const auto* half = reinterpret_cast<const std::uint16_t*>(page);
  if constexpr (kType == DType::kF16) return f_load_f16(half + d * kPageTokens + slot);
  if ((d | 1) >= D) return f_load_bf16(half + d * kPageTokens + slot);  // the last channel of an odd D
  return pair_half(half + ((d >> 1) * kPageTokens + slot) * 2, d & 1);
}

// Channels d to d + 15 of one token, and zeros from D on unless all are known to exist.
template <DType kType, bool kWhole = false>
static inline F load_values(const std::byte* page, long D, long slot, long d) {
  if (!kWhole && d + kLanes > D) {
    float lanes[kLanes] = {};
    for (long i = 0; i < D - d; ++i) lanes[i] = load_float(page, kType, kv_value_index(kType, D, slot, d + i));
    return f_load(lanes);
  }
  if constexpr (kType == DType::kF32) {
    return f_load(reinterpret_cast<const float*>(page) + (kPageTokens + slot) * D + d);
  }
  const auto* half = reinterpret_cast<const std::uint16_t*>(page) + kPageTokens * D;
  if constexpr (kType == DType::kF16) return f_load_f16(half + slot * D + d);
  return pair_half(half + ((slot >> 1) * D + d) * 2, slot & 1);
}

// The weighted sum of values over channels [d, d + 16 V). Each row takes its tokens in order, and those that all rows
// see together. No row touches a value it may not see: its weight there is 0, but 0 times Inf is not.
template <DType kType, int R, int V>
static inline void attend_values(const std::byte* page, long D, long d, Query* rows, const Columns (&own)[R],
                                 Columns all) {
  F acc[R][V];
  OUTRIDER_UNROLL
  for (int r = 0; r < R; ++r) {
    OUTRIDER_UNROLL
    for (int v = 0; v < V; ++v) acc[r][v] = f_load(rows[r].acc + d + v * kLanes);
  }
  const auto alone = [&](int r, long from, long to) OUTRIDER_INLINE {
    for (long j = from; j < to; ++j) {
      const F weight = f_set1(rows[r].weights[j]);
      OUTRIDER_UNROLL
      for (int v = 0; v < V; ++v)
        acc[r][v] = f_fma(weight, load_values<kType, (V > 1)>(page, D, j, d + v * kLanes), acc[r][v]);
    }
  };
  OUTRIDER_UNROLL
  for (int r = 0; r < R; ++r) alone(r, own[r].from, own[r].to < all.from ? own[r].to : all.from);
  for (long j = all.from; j < all.to; ++j) {
    F value[V];
    OUTRIDER_UNROLL
    for (int v = 0; v < V; ++v) value[v] = load_values<kType, (V > 1)>(page, D, j, d + v * kLanes);
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      const F weight = f_set1(rows[r].weights[j]);
      OUTRIDER_UNROLL
      for (int v = 0; v < V; ++v) acc[r][v] = f_fma(weight, value[v], acc[r][v]);
    }
  }
  OUTRIDER_UNROLL
  for (int r = 0; r < R; ++r) {
    alone(r, own[r].from > all.to ? own[r].from : all.to, own[r].to);
    OUTRIDER_UNROLL
    for (int v = 0; v < V; ++v) f_store(rows[r].acc + d + v * kLanes, acc[r][v]);
  }
}

// One block for R query rows: scores, softmax statistics, weighted values.
template <DType kType, int R>
static inline void attend_block(const ops::AttentionArgs& args, const std::byte* page, long block_start, Query* rows) {
  const long D = args.D;
  F score[R][kColumns];
  OUTRIDER_UNROLL
  for (int r = 0; r < R; ++r) {
    OUTRIDER_UNROLL
    for (int c = 0; c < kColumns; ++c) score[r][c] = f_zero();
  }
  for (long d = 0; d < D; ++d) {
    F key[kColumns];
    OUTRIDER_UNROLL
    for (int c = 0; c < kColumns; ++c) key[c] = load_keys<kType>(page, D, d, c * kLanes);
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      const F q = f_set1(rows[r].q[d]);
      OUTRIDER_UNROLL
      for (int c = 0; c < kColumns; ++c) score[r][c] = f_fma(key[c], q, score[r][c]);
    }
  }
  Columns own[R];
  Columns all{0, kPageTokens};  // what all rows see
  OUTRIDER_UNROLL
  for (int r = 0; r < R; ++r) {
    own[r] = columns_of(rows[r], block_start);
    if (own[r].from > all.from) all.from = own[r].from;
    if (own[r].to < all.to) all.to = own[r].to;
    soften<f_exp_down>(args, rows[r], block_start, score[r]);
    F total = f_zero();
    OUTRIDER_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      f_store(rows[r].weights + c * kLanes, score[r][c]);
      total = f_add(total, score[r][c]);
    }
    rows[r].total += f_sum(total);
  }
  if (all.to < all.from) all.to = all.from;
  long d = 0;
  for (; d + 4 * kLanes <= D; d += 4 * kLanes) attend_values<kType, R, 4>(page, D, d, rows, own, all);
  for (; d < D; d += kLanes) attend_values<kType, R, 1>(page, D, d, rows, own, all);
}

// The block for the last `count` rows, at most R.
template <DType kType, int R>
static void attend_rest(const ops::AttentionArgs& args, const std::byte* page, long block_start, Query* rows,
                        int count) {
  if constexpr (R > 0) {
    if (count == R) return attend_block<kType, R>(args, page, block_start, rows);
    attend_rest<kType, R - 1>(args, page, block_start, rows, count);
  }
}

template <DType kType>
static inline void attend_tiles(const ops::AttentionArgs& args, const std::byte* page, long block_start, Query* rows,
                                int count) {
  int r = 0;
  for (; r + kTile <= count; r += kTile) attend_block<kType, kTile>(args, page, block_start, rows + r);
  attend_rest<kType, kTile - 1>(args, page, block_start, rows + r, count - r);
}

// A page of one type, for the walk. More rows than one tile share one conversion to f32, which is exact and so changes
// no bit.
template <DType kType>
struct FloatBlocks {
  static void prepare(Query&, long) {}

  static void attend(const ops::AttentionArgs& args, const std::byte* page, const std::byte*, long block_start,
                     Query* rows, int count, float* wide) {
    if (kType == DType::kF32 || count <= kTile || count <= ops::kFewQueries)
      return attend_tiles<kType>(args, page, block_start, rows, count);
    const long D = args.D;
    for (long d = 0; d < D; ++d) {
      for (long slot = 0; slot < kPageTokens; slot += kLanes) {
        f_store(wide + d * kPageTokens + slot, load_keys<kType>(page, D, d, slot));
      }
    }
    float* values = wide + kPageTokens * D;
    for (long slot = 0; slot < kPageTokens; ++slot) {
      for (long d = 0; d < D; d += kLanes) {
        f_store_to(values + slot * D + d, load_values<kType>(page, D, slot, d),
                   D - d < kLanes ? static_cast<int>(D - d) : kLanes);
      }
    }
    attend_tiles<DType::kF32>(args, reinterpret_cast<const std::byte*>(wide), block_start, rows, count);
  }
};
