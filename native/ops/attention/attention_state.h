// What all vector kernels of attention share, included inside a level's region: the state of a query row, masks, the
// softmax of one block and the merge of segments. A row's operations are fixed by its own query and positions alone.

// State of one query row while it walks the blocks of a segment.
struct Query {
  const float* q;        // [D]
  std::uint32_t* pair;   // [(D + 1) / 2] the same rounded to bf16 in pairs; kernels of bf16 dot products only
  float* out;            // [D]
  float* acc;            // [D rounded up to 16] weighted sum of values of this segment
  float* sum;            // [D rounded up to 16] of the segments before it
  float* weights;        // [64] of the current block, or 32 pairs of bf16
  float largest, total;  // running maximum and sum of weights of this segment
  float sum_largest, sum_total;
  bool any;          // some segment is in `sum`
  long first, last;  // visible positions
};

// exp(x) for x <= 0, as softmax needs it: relative error below 2e-7 down to -87.3, 0 below that; NaN stays NaN.
// f_exp without the care for large results.
static inline F f_exp_down(F x) {
  const F lo = f_set1(-87.33f);
  F n;
  const F p = f_exp_reduced(f_max(lo, x), &n);  // operand order keeps NaN
  return f_select_less(x, lo, f_zero(), f_scale2(p, f_to_i(n)));
}

static inline float exp_down(float x) {
  float lanes[kLanes];
  f_store(lanes, f_exp_down(f_set1(x)));
  return lanes[0];
}

// Lanes of block columns [column, column + 16) outside [lo, hi] become -inf.
static inline F mask_scores(F scores, long column, long lo, long hi) {
  if (lo <= column && column + kLanes - 1 <= hi) return scores;
  alignas(64) static constexpr float kIndex[kLanes] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const F index = f_load(kIndex), none = f_set1(-__builtin_inff());
  scores = f_select_less(index, f_set1(static_cast<float>(lo - column)), none, scores);
  return f_select_less(f_set1(static_cast<float>(hi - column)), index, none, scores);
}

// Into the second-level cache: what is asked for are lines of the page after this one.
static inline void prefetch(const std::byte* at) { _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T1); }

constexpr int kColumns = kPageTokens / kLanes;

// The columns of a block that a row sees: [from, to).
struct Columns {
  long from, to;
};
static inline Columns columns_of(const Query& row, long block_start) {
  const long lo = row.first - block_start, hi = row.last - block_start;
  return {lo > 0 ? lo : 0, hi < kPageTokens ? hi + 1 : kPageTokens};
}

// Scales, caps and masks the scores of one row, moves its maximum and rescales what it has summed. Scores become
// weights.
// The exponential is the kernel's own.
template <F (*kExp)(F)>
static inline void soften(const ops::AttentionArgs& args, Query& row, long block_start, F (&score)[kColumns]) {
  const F scale = f_set1(args.scale);
  const long lo = row.first - block_start, hi = row.last - block_start;
  F top = f_set1(-__builtin_inff());
  OUTRIDER_UNROLL
  for (int c = 0; c < kColumns; ++c) {
    F s = f_mul(score[c], scale);
    if (args.soft_cap > 0) {
      const F cap = f_set1(args.soft_cap);
      s = f_mul(cap, f_tanh(f_div(s, cap)));
    }
    score[c] = mask_scores(s, c * kLanes, lo, hi);
    top = f_max(score[c], top);
  }
  const float block_top = f_max_lane(top);
  const float largest = block_top > row.largest ? block_top : row.largest;
  const F base = f_set1(largest);
  OUTRIDER_UNROLL
  for (int c = 0; c < kColumns; ++c) score[c] = kExp(f_sub(score[c], base));
  if (largest != row.largest) {  // a factor of 1 changes nothing
    const float keep = exp_down(row.largest - largest);
    row.largest = largest;
    row.total *= keep;
    const F keep_all = f_set1(keep);
    for (long d = 0; d < args.D; d += kLanes) f_store(row.acc + d, f_mul(f_load(row.acc + d), keep_all));
  }
}

static inline void clear_segment(const ops::AttentionArgs& args, Query& row) {
  row.largest = -__builtin_inff();
  row.total = 0;
  for (long d = 0; d < args.D; d += kLanes) f_store(row.acc + d, f_zero());
}

// One segment more. Segments are merged one after the other in order of position (arXiv:1805.02867, equation 4).
static inline void merge_segment(Query& row, const float* acc, float largest, float total, long D) {
  if (!row.any) {
    row.any = true;
    row.sum_largest = largest;
    row.sum_total = total;
    for (long d = 0; d < D; d += kLanes) f_store(row.sum + d, f_load(acc + d));
    return;
  }
  const float top = largest > row.sum_largest ? largest : row.sum_largest;
  const float keep = exp_down(row.sum_largest - top), gain = exp_down(largest - top);
  row.sum_largest = top;
  row.sum_total = row.sum_total * keep + total * gain;
  const F keep_all = f_set1(keep), gain_all = f_set1(gain);
  for (long d = 0; d < D; d += kLanes) {
    f_store(row.sum + d, f_fma(f_load(acc + d), gain_all, f_mul(f_load(row.sum + d), keep_all)));
  }
}

static inline void finish_row(Query& row, long D) {
  const float inverse = 1.0f / row.sum_total;
  for (long d = 0; d < D; ++d) row.out[d] = row.sum[d] * inverse;
}
