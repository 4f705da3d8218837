// Blocks in f32 arithmetic, whatever the pages hold. Included inside a level's region, which defines kTile, the query
// rows that share each load, and kDirect, up to how many rows a page of 16 bits is converted by each tile as it loads.
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

// Asks for what load_keys() of channel d, and load_values() of V vectors, read of the page after this one: bf16 lies in
// pairs, whose lines come with the even one.
template <DType kType>
static inline void prefetch_keys(const std::byte* next, long D, long d) {
  if (kType == DType::kBF16 && (d & 1) != 0) return;
  constexpr int kLines = (kType == DType::kF16 ? 2 : 4) * kPageTokens / 64;
  const std::byte* const at = next + kv_key_index(kType, D, d, 0) * dtype_bytes(kType);
  OUTRIDER_UNROLL
  for (int line = 0; line < kLines; ++line) prefetch(at + line * 64);
}
template <DType kType, int V>
static inline void prefetch_values(const std::byte* next, long D, long slot, long d) {
  if (kType == DType::kBF16 && (slot & 1) != 0) return;
  constexpr int kBytes = kType == DType::kF16 ? 2 : 4;  // of a channel, or of a pair
  const std::byte* const at = next + kv_value_index(kType, D, slot, d) * dtype_bytes(kType);
  OUTRIDER_UNROLL
  for (int byte = 0; byte < V * kLanes * kBytes; byte += 64) prefetch(at + byte);
}

// The weighted sum of values over channels [d, d + 16 V). Each row takes its tokens in order, and those that all rows
// see together. No row touches a value it may not see: its weight there is 0, but 0 times Inf is not.
template <DType kType, int R, int V>
static inline void attend_values(const std::byte* page, const std::byte* next, long D, long d, Query* rows,
                                 const Columns (&own)[R], Columns all) {
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
    if (next != nullptr) prefetch_values<kType, V>(next, D, j, d);
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
static inline void attend_block(const ops::AttentionArgs& args, const std::byte* page, const std::byte* next,
                                long block_start, Query* rows) {
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
    if (next != nullptr) prefetch_keys<kType>(next, D, d);
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
  for (; d + 4 * kLanes <= D; d += 4 * kLanes) attend_values<kType, R, 4>(page, next, D, d, rows, own, all);
  for (; d < D; d += kLanes) attend_values<kType, R, 1>(page, next, D, d, rows, own, all);
}

// The block for `count` rows, at most R.
template <DType kType, int R>
static void attend_rows(const ops::AttentionArgs& args, const std::byte* page, const std::byte* next, long block_start,
                        Query* rows, int count) {
  if constexpr (R > 1) {
    if (count < R) return attend_rows<kType, R - 1>(args, page, next, block_start, rows, count);
  }
  attend_block<kType, R>(args, page, next, block_start, rows);
}

// Tiles of nearly equal height; only the first asks for the next page.
template <DType kType>
static inline void attend_tiles(const ops::AttentionArgs& args, const std::byte* page, const std::byte* next,
                                long block_start, Query* rows, int count) {
  const int tiles = (count + kTile - 1) / kTile;
  for (int i = 0, r = 0; i < tiles; ++i) {
    const int after = count * (i + 1) / tiles;
    attend_rows<kType, kTile>(args, page, i == 0 ? next : nullptr, block_start, rows + r, after - r);
    r = after;
  }
}

// A page of one type, for the walk. Many rows share one conversion to f32, which is exact and so changes no bit.
template <DType kType>
struct FloatBlocks {
  static void prepare(Query&, long) {}

  static void attend(const ops::AttentionArgs& args, const std::byte* page, const std::byte* next, long block_start,
                     Query* rows, int count, float* wide) {
    static_assert(kDirect >= ops::kFewQueries);
    if (kType == DType::kF32 || count <= kDirect)
      return attend_tiles<kType>(args, page, next, block_start, rows, count);
    const long D = args.D;
    for (long d = 0; d < D; ++d) {
      if (next != nullptr) prefetch_keys<kType>(next, D, d);
      for (long slot = 0; slot < kPageTokens; slot += kLanes) {
        f_store(wide + d * kPageTokens + slot, load_keys<kType>(page, D, d, slot));
      }
    }
    float* values = wide + kPageTokens * D;
    for (long slot = 0; slot < kPageTokens; ++slot) {
      for (long d = 0; d < D; d += kLanes) {
        if (next != nullptr && d % (2 * kLanes) == 0) prefetch_values<kType, 2>(next, D, slot, d);
        f_store_to(values + slot * D + d, load_values<kType>(page, D, slot, d),
                   D - d < kLanes ? static_cast<int>(D - d) : kLanes);
      }
    }
    attend_tiles<DType::kF32>(args, reinterpret_cast<const std::byte*>(wide), nullptr, block_start, rows, count);
  }
};
