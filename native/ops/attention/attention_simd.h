// The vector body, included inside a level's region by attention_avx2.cpp and attention_avx512.cpp, which define kTile.
//
// The unit of work is a tile of up to kTile query rows that look at the same 64-token block: query heads of one KV
// head, and neighbouring rows of the batch. All tiles of up to kAttentionQueries rows take a block while it is in
// cache. Scores are [rows][4 vectors of 16 tokens], summed over channels in order; the weighted sum of values runs
// token by token with channels in lanes. Each query row does exactly the operations it would do alone.

// State of one query row between blocks.
struct Query {
  const float* q;    // [D]
  float* out;        // [D]
  float* acc;        // [D rounded up to 16] weighted sum of values so far
  float* weights;    // [64] of the current block
  float largest;     // running maximum of the scores
  float total;       // running sum of weights
  long first, last;  // visible positions
};

template <DType kType>
static inline F kv_load(const std::byte* base, long index) {
  if constexpr (kType == DType::kF32) return f_load(reinterpret_cast<const float*>(base) + index);
  const auto* half = reinterpret_cast<const std::uint16_t*>(base) + index;
  return kType == DType::kF16 ? f_load_f16(half) : f_load_bf16(half);
}

template <DType kType>
static inline F kv_load_n(const std::byte* base, long index, int n) {
  float lanes[kLanes] = {};
  for (int i = 0; i < n; ++i) lanes[i] = load_float(base, kType, static_cast<std::size_t>(index + i));
  return f_load(lanes);
}

// Lanes of block columns [column, column + 16) outside [lo, hi] become -inf.
static inline F mask_scores(F scores, long column, long lo, long hi) {
  if (lo <= column && column + kLanes - 1 <= hi) return scores;
  float lanes[kLanes];
  f_store(lanes, scores);
  for (long i = 0; i < kLanes; ++i) {
    if (column + i < lo || column + i > hi) lanes[i] = -__builtin_inff();
  }
  return f_load(lanes);
}

// One block for R query rows: scores, softmax statistics, weighted values.
template <DType kType, int R>
static inline void attend_block(const ops::AttentionArgs& args, const std::byte* page, long block_start, Query* rows) {
  const long D = args.D;
  constexpr int kColumns = kPageTokens / kLanes;
  F score[R][kColumns];
  OUTRIDER_UNROLL
  for (int r = 0; r < R; ++r) {
    OUTRIDER_UNROLL
    for (int c = 0; c < kColumns; ++c) score[r][c] = f_zero();
  }
  for (long d = 0; d < D; ++d) {
    F key[kColumns];
    OUTRIDER_UNROLL
    for (int c = 0; c < kColumns; ++c) key[c] = kv_load<kType>(page, d * kPageTokens + c * kLanes);
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      const F q = f_set1(rows[r].q[d]);
      OUTRIDER_UNROLL
      for (int c = 0; c < kColumns; ++c) score[r][c] = f_fma(key[c], q, score[r][c]);
    }
  }
  const F scale = f_set1(args.scale);
  long from[R], to[R];                      // block columns a row sees: [from, to)
  long all_from = 0, all_to = kPageTokens;  // and those that all rows see
  OUTRIDER_UNROLL
  for (int r = 0; r < R; ++r) {
    Query& row = rows[r];
    const long lo = row.first - block_start, hi = row.last - block_start;
    from[r] = lo > 0 ? lo : 0;
    to[r] = hi < kPageTokens ? hi + 1 : kPageTokens;
    if (from[r] > all_from) all_from = from[r];
    if (to[r] < all_to) all_to = to[r];
    F top = f_set1(-__builtin_inff());
    OUTRIDER_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      F s = f_mul(score[r][c], scale);
      if (args.soft_cap > 0) {
        const F cap = f_set1(args.soft_cap);
        s = f_mul(cap, f_tanh(f_div(s, cap)));
      }
      score[r][c] = mask_scores(s, c * kLanes, lo, hi);
      top = f_max(score[r][c], top);
    }
    const float block_top = f_max_lane(top);
    const float largest = block_top > row.largest ? block_top : row.largest;
    F total = f_zero();
    const F base = f_set1(largest);
    OUTRIDER_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      const F weight = f_exp(f_sub(score[r][c], base));
      f_store(row.weights + c * kLanes, weight);
      total = f_add(total, weight);
    }
    // The first block has no past: its factor would be exp(-inf).
    float keep_lanes[kLanes];
    f_store(keep_lanes, f_exp(f_set1(row.largest - largest)));
    const float keep = keep_lanes[0];
    row.largest = largest;
    row.total = row.total * keep + f_sum(total);
    const F keep_all = f_set1(keep);
    for (long d = 0; d < D; d += kLanes) f_store(row.acc + d, f_mul(f_load(row.acc + d), keep_all));
  }
  // Each row takes its tokens in order, and those that all rows see together. No row touches a value it may not see:
  // its weight there is 0, but 0 times Inf is not.
  if (all_to < all_from) all_to = all_from;
  const std::byte* values = page + static_cast<std::size_t>(kPageTokens * D) * dtype_bytes(kType);
  for (long d = 0; d < D; d += kLanes) {
    const auto value_at = [&](long j) {
      return d + kLanes <= D ? kv_load<kType>(values, j * D + d)
                             : kv_load_n<kType>(values, j * D + d, static_cast<int>(D - d));
    };
    F acc[R];
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      acc[r] = f_load(rows[r].acc + d);
      const long end = to[r] < all_from ? to[r] : all_from;
      for (long j = from[r]; j < end; ++j) acc[r] = f_fma(f_set1(rows[r].weights[j]), value_at(j), acc[r]);
    }
    for (long j = all_from; j < all_to; ++j) {
      const F value = value_at(j);
      OUTRIDER_UNROLL
      for (int r = 0; r < R; ++r) acc[r] = f_fma(f_set1(rows[r].weights[j]), value, acc[r]);
    }
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      const long begin = from[r] > all_to ? from[r] : all_to;
      for (long j = begin; j < to[r]; ++j) acc[r] = f_fma(f_set1(rows[r].weights[j]), value_at(j), acc[r]);
      f_store(rows[r].acc + d, acc[r]);
    }
  }
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
static inline void attend_rows(const ops::AttentionArgs& args, const std::byte* page, long block_start, Query* rows,
                               int count) {
  int r = 0;
  for (; r + kTile <= count; r += kTile) attend_block<kType, kTile>(args, page, block_start, rows + r);
  attend_rest<kType, kTile - 1>(args, page, block_start, rows + r, count - r);
}

// Rows that see nothing of this block skip it, as they would alone. More rows than one tile share one conversion of the
// page to f32, which is exact and so changes no bit.
template <DType kType>
static inline void attend_shared(const ops::AttentionArgs& args, const std::byte* page, long block_start, Query* rows,
                                 int count, float* wide) {
  bool converted = false;
  for (int r = 0; r < count;) {
    int run = r;
    while (run < count && rows[run].first < block_start + kPageTokens && rows[run].last >= block_start) ++run;
    if (run == r) {
      ++r;
      continue;
    }
    if (kType == DType::kF32 || run - r <= kTile) {
      attend_rows<kType>(args, page, block_start, rows + r, run - r);
    } else {
      if (!converted) {
        for (long i = 0; i < 2 * kPageTokens * args.D; i += kLanes) f_store(wide + i, kv_load<kType>(page, i));
        converted = true;
      }
      attend_rows<DType::kF32>(args, reinterpret_cast<const std::byte*>(wide), block_start, rows + r, run - r);
    }
    r = run;
  }
}

// A 64-token page as row n sees it from block_start on: committed slots from its page, the rest along its path.
static inline void assemble(const ops::AttentionArgs& args, long n, long g, long block_start, long last,
                            std::byte* page) {
  for (long slot = 0; slot < kPageTokens && block_start + slot <= last; ++slot) {
    const long j = block_start + slot;
    const std::byte* const* pages = args.pages;
    long from = j;
    if (j >= args.prefix) {
      from = args.path[n * args.path_stride + (j - args.prefix)];
      pages = args.scratch;
    }
    kv_page_copy(page, slot, pages[from / kPageTokens] + static_cast<std::size_t>(g) * args.head_bytes,
                 from % kPageTokens, args.D, args.kv_type);
  }
}

template <DType kType>
static void attend(const ops::AttentionArgs& args) {
  const long D = args.D, per_group = args.H / args.G, padded = (D + kLanes - 1) / kLanes * kLanes;
  const std::size_t page_bytes = kv_page_bytes(D, DType::kF32);
  std::byte* own_page = args.work;
  auto* wide = reinterpret_cast<float*>(args.work + page_bytes);
  auto* acc = reinterpret_cast<float*>(args.work + 2 * page_bytes);
  float* weights = acc + ops::kAttentionQueries * padded;
  for (long g = args.g_begin; g < args.g_end; ++g) {
    // Queries of this KV head, row by row: query i is head i % per_group of batch row i / per_group.
    const long end_query = args.row_end * per_group;
    for (long at = args.row_begin * per_group; at < end_query; at += ops::kAttentionQueries) {
      Query rows[ops::kAttentionQueries];
      const auto count =
          static_cast<int>(end_query - at < ops::kAttentionQueries ? end_query - at : ops::kAttentionQueries);
      long from = args.position[at / per_group], to = 0;
      bool tree = false;
      for (int r = 0; r < count; ++r) {
        const long n = (at + r) / per_group, h = g * per_group + (at + r) % per_group;
        Query& row = rows[r];
        row.q = args.q + n * args.q_stride + h * D;
        row.out = args.out + n * args.out_stride + h * D;
        row.acc = acc + r * padded;
        row.weights = weights + r * kPageTokens;
        row.largest = -__builtin_inff();
        row.total = 0;
        row.last = args.position[n];
        row.first = args.window > 0 && row.last - args.window + 1 > 0 ? row.last - args.window + 1 : 0;
        for (long d = 0; d < padded; ++d) row.acc[d] = 0;
        if (row.first < from) from = row.first;
        if (row.last > to) to = row.last;
        tree = tree || row.last >= args.prefix;
      }
      for (long block = from / kPageTokens; block <= to / kPageTokens; ++block) {
        const long start = block * kPageTokens;
        if (!tree || start + kPageTokens <= args.prefix) {
          const std::byte* page = args.pages[block] + static_cast<std::size_t>(g) * args.head_bytes;
          attend_shared<kType>(args, page, start, rows, count, wide);
          continue;
        }
        // Above the prefix every tree row has a page of its own.
        for (int r = 0; r < count;) {
          const long n = (at + r) / per_group;
          int run = r;
          while (run < count && (at + run) / per_group == n) ++run;
          if (rows[r].first < start + kPageTokens && rows[r].last >= start) {
            assemble(args, n, g, start, rows[r].last, own_page);
            attend_rows<kType>(args, own_page, start, rows + r, run - r);
          }
          r = run;
        }
      }
      for (int r = 0; r < count; ++r) {
        const float inverse = 1.0f / rows[r].total;
        for (long d = 0; d < D; ++d) rows[r].out[d] = rows[r].acc[d] * inverse;
      }
    }
  }
}

void attention(const ops::AttentionArgs& args) {
  if (args.kv_type == DType::kF32)
    attend<DType::kF32>(args);
  else if (args.kv_type == DType::kF16)
    attend<DType::kF16>(args);
  else
    attend<DType::kBF16>(args);
}
