// Blocks of bf16 pages with two-way bf16 dot products. Included inside the region of a level that has them.
//
// Queries and weights are rounded to bf16; products are exact and sums are f32. Scores are [rows][4 vectors of 16
// tokens], summed over pairs of channels in order; the weighted sum of values runs over pairs of tokens with channels
// in lanes. The weights that are summed into the denominator are the rounded ones, so that a row stays a convex
// combination of values.

// exp(x) for x <= 0 as precise as a weight that is rounded to bf16 needs it: relative error below 6e-5, 0 below -103.9;
// NaN stays NaN. 2^n times the first terms of 2^f, f in [-1/2, 1/2].
static inline F exp_quick(F x) {
  const F y = f_max(f_set1(-150.0f), f_mul(x, f_set1(1.44269504f)));  // operand order keeps NaN
  const F n = f_round(y), f = f_sub(y, n);
  F p = f_fma(f, f_set1(0.009618129f), f_set1(0.05550411f));
  p = f_fma(p, f, f_set1(0.2402265f));
  p = f_fma(p, f, f_set1(0.6931472f));
  p = f_fma(p, f, f_set1(1.0f));
  return {_mm512_scalef_ps(p.v, n.v)};
}

struct Bf16Blocks {
  static constexpr int kRows = 6, kVectors = 4;

  // The query in pairs of bf16.
  static inline void prepare(Query& row, long D) {
    long d = 0;
    for (; d + 2 * kLanes <= D; d += 2 * kLanes) {
      i_store(row.pair + d / 2, f_to_bf16_pairs(f_load(row.q + d), f_load(row.q + d + kLanes)));
    }
    if (d == D) return;
    float rest[2 * kLanes] = {};
    for (long i = d; i < D; ++i) rest[i - d] = row.q[i];
    i_store_n(row.pair + d / 2, f_to_bf16_pairs(f_load(rest), f_load(rest + kLanes)),
              static_cast<int>((D - d + 1) / 2));
  }

  template <int R>
  static inline void scores(const std::byte* page, const std::byte* next, long D, const Query* rows,
                            F (&score)[R][kColumns]) {
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      OUTRIDER_UNROLL
      for (int c = 0; c < kColumns; ++c) score[r][c] = f_zero();
    }
    const std::uint32_t* query[R];
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) query[r] = rows[r].pair;
    const auto step = [&](long pair, const I(&key)[kColumns]) OUTRIDER_INLINE {
      OUTRIDER_UNROLL
      for (int r = 0; r < R; ++r) {
        const I q = i_set1(static_cast<std::int32_t>(query[r][pair]));
        OUTRIDER_UNROLL
        for (int c = 0; c < kColumns; ++c) score[r][c] = f_dot2(score[r][c], key[c], q);
      }
    };
    for (long pair = 0; pair < D / 2; ++pair) {
      I key[kColumns];
      OUTRIDER_UNROLL
      for (int c = 0; c < kColumns; ++c) {
        const long at = pair * 4 * kPageTokens + c * 64;
        key[c] = i_load(page + at);
        if (next != nullptr) prefetch(next + at);
      }
      step(pair, key);
    }
    if (D % 2 != 0) {  // one channel alone: the other half of the pair is 0
      const auto* last = reinterpret_cast<const std::uint16_t*>(page) + (D - 1) * kPageTokens;
      I key[kColumns];
      OUTRIDER_UNROLL
      for (int c = 0; c < kColumns; ++c) {
        key[c] = i_load_u16(last + c * kLanes);
      }
      step(D / 2, key);
    }
  }

  // The weighted sum of values over channels [d, d + 16 V), the last vector cut off by `mask`.
  template <int R, int V>
  static inline void values(const std::byte* page, const std::byte* next, long D, long d, __mmask16 mask, Query* rows,
                            const Columns (&own)[R], Columns all) {
    const auto* pairs = reinterpret_cast<const std::uint32_t*>(page + static_cast<std::size_t>(kPageTokens * D) * 2);
    F acc[R][V];
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      OUTRIDER_UNROLL
      for (int v = 0; v < V; ++v) acc[r][v] = f_load(rows[r].acc + d + v * kLanes);
    }
    const auto load = [&](long pair, int v) OUTRIDER_INLINE {
      const std::uint32_t* at = pairs + pair * D + d + v * kLanes;
      return I{v + 1 < V ? _mm512_loadu_si512(at) : _mm512_maskz_loadu_epi32(mask, at)};
    };
    // Pairs [from, to) of one row, with the half it may not see set to 0.
    const auto alone = [&](int r, long from, long to) OUTRIDER_INLINE {
      for (long pair = from; pair < to; ++pair) {
        std::uint32_t seen = 0xFFFFFFFFu;
        if (2 * pair < own[r].from) seen &= 0xFFFF0000u;
        if (2 * pair + 1 >= own[r].to) seen &= 0x0000FFFFu;
        const I weight = i_set1(reinterpret_cast<const std::int32_t*>(rows[r].weights)[pair]);
        OUTRIDER_UNROLL
        for (int v = 0; v < V; ++v)
          acc[r][v] = f_dot2(acc[r][v], i_and(load(pair, v), i_set1(static_cast<std::int32_t>(seen))), weight);
      }
    };
    const long whole_from = (all.from + 1) / 2, whole_to = all.to / 2 > whole_from ? all.to / 2 : whole_from;
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      const long end = (own[r].to + 1) / 2;
      alone(r, own[r].from / 2, end < whole_from ? end : whole_from);
    }
    const std::int32_t* weight[R];
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) weight[r] = reinterpret_cast<const std::int32_t*>(rows[r].weights);
    for (long pair = whole_from; pair < whole_to; ++pair) {
      I value[V];
      OUTRIDER_UNROLL
      for (int v = 0; v < V; ++v) {
        value[v] = load(pair, v);
        if (next != nullptr) prefetch(next + kPageTokens * D * 2 + (pair * D + d + v * kLanes) * 4);
      }
      OUTRIDER_UNROLL
      for (int r = 0; r < R; ++r) {
        const I w = i_set1(weight[r][pair]);
        OUTRIDER_UNROLL
        for (int v = 0; v < V; ++v) acc[r][v] = f_dot2(acc[r][v], value[v], w);
      }
    }
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      const long begin = own[r].from / 2;
      alone(r, begin > whole_to ? begin : whole_to, (own[r].to + 1) / 2);
      OUTRIDER_UNROLL
      for (int v = 0; v < V; ++v) f_store(rows[r].acc + d + v * kLanes, acc[r][v]);
    }
  }

  // Scores and weights of R rows.
  template <int R>
  static void score_rows(const ops::AttentionArgs& args, const std::byte* page, const std::byte* next, long block_start,
                         Query* rows) {
    F score[R][kColumns];
    scores<R>(page, next, args.D, rows, score);
    const I ones = i_set1(0x3F803F80);
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      soften<exp_quick>(args, rows[r], block_start, score[r]);
      F total = f_zero();
      OUTRIDER_UNROLL
      for (int c = 0; c < kColumns; c += 2) {
        const I bits = f_to_bf16_pairs(score[r][c], score[r][c + 1]);
        i_store(rows[r].weights + c * (kLanes / 2), bits);
        total = f_dot2(total, bits, ones);
      }
      rows[r].total += f_sum(total);
    }
  }

  // Their weighted values.
  template <int R>
  static void value_rows(const ops::AttentionArgs& args, const std::byte* page, const std::byte* next, long block_start,
                         Query* rows) {
    const long D = args.D;
    Columns own[R];
    Columns all{0, kPageTokens};
    for (int r = 0; r < R; ++r) {
      own[r] = columns_of(rows[r], block_start);
      if (own[r].from > all.from) all.from = own[r].from;
      if (own[r].to < all.to) all.to = own[r].to;
    }
    if (all.to < all.from) all.to = all.from;
    const auto full = static_cast<__mmask16>(0xFFFFu);
    long d = 0;
    for (; d + kVectors * kLanes <= D; d += kVectors * kLanes)
      values<R, kVectors>(page, next, D, d, full, rows, own, all);
    for (; d < D; d += kLanes) {
      const auto mask = D - d >= kLanes ? full : static_cast<__mmask16>((1u << (D - d)) - 1u);
      values<R, 1>(page, next, D, d, mask, rows, own, all);
    }
  }

  template <bool kScores, int R>
  static void rows_of(const ops::AttentionArgs& args, const std::byte* page, const std::byte* next, long block_start,
                      Query* rows, long count) {
    if constexpr (R > 1) {
      if (count < R) return rows_of<kScores, R - 1>(args, page, next, block_start, rows, count);
    }
    if constexpr (kScores) {
      score_rows<R>(args, page, next, block_start, rows);
    } else {
      value_rows<R>(args, page, next, block_start, rows);
    }
  }

  // Tiles of nearly equal height; only the first asks for the next page. All take the keys, then all the values: either
  // half of a page then stays in the first-level cache.
  template <bool kScores>
  static void tiles(const ops::AttentionArgs& args, const std::byte* page, const std::byte* next, long block_start,
                    Query* rows, int count) {
    const long all = (count + kRows - 1) / kRows;
    for (long i = 0, r = 0; i < all; ++i) {
      const long after = count * (i + 1) / all;
      rows_of<kScores, kRows>(args, page, i == 0 ? next : nullptr, block_start, rows + r, after - r);
      r = after;
    }
  }

  static void attend(const ops::AttentionArgs& args, const std::byte* page, const std::byte* next, long block_start,
                     Query* rows, int count, float*) {
    tiles<true>(args, page, next, block_start, rows, count);
    tiles<false>(args, page, next, block_start, rows, count);
  }
};
