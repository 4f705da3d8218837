// Vector helpers written once in the vocabulary of the level. Included by the region headers, inside their namespace.

constexpr int kLanes = 16;

// Sum of the 16 lanes, folded in halves: ((8 + 8), (4 + 4), (2 + 2), (1 + 1)). Every level folds in this order.
static inline float f_sum(F x) {
  const __m256 h8 = f_fold_half(x);
  const __m128 h4 = _mm_add_ps(_mm256_castps256_ps128(h8), _mm256_extractf128_ps(h8, 1));
  const __m128 h2 = _mm_add_ps(h4, _mm_movehl_ps(h4, h4));
  return _mm_cvtss_f32(_mm_add_ss(h2, _mm_movehdup_ps(h2)));
}

// Sum of the 16 lanes, modulo 2^32.
static inline std::int32_t i_sum(I x) {
  const __m256i h8 = i_fold_half(x);
  const __m128i h4 = _mm_add_epi32(_mm256_castsi256_si128(h8), _mm256_extracti128_si256(h8, 1));
  const __m128i h2 = _mm_add_epi32(h4, _mm_shuffle_epi32(h4, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(h2, _mm_shuffle_epi32(h2, 0xB1)));
}

static inline float f_max_lane(F x) {
  const __m256 h8 = f_fold_max_half(x);
  const __m128 h4 = _mm_max_ps(_mm256_castps256_ps128(h8), _mm256_extractf128_ps(h8, 1));
  const __m128 h2 = _mm_max_ps(h4, _mm_movehl_ps(h4, h4));
  return _mm_cvtss_f32(_mm_max_ss(h2, _mm_movehdup_ps(h2)));
}

// The first n (0..15) lanes from memory, the rest `fill`; nothing past p[n - 1] is read.
static inline F f_load_n(const float* p, int n, float fill = 0.0f) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = i < n ? p[i] : fill;
  return f_load(lanes);
}

// The first n (0..15) lanes to memory; nothing past p[n - 1] is written.
static inline void f_store_n(float* p, F x, int n) {
  float lanes[kLanes];
  f_store(lanes, x);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}

// The same for 1..16 lanes.
static inline F f_load_to(const float* p, int n, float fill = 0.0f) {
  return n == kLanes ? f_load(p) : f_load_n(p, n, fill);
}
static inline void f_store_to(float* p, F x, int n) {
  if (n == kLanes)
    f_store(p, x);
  else
    f_store_n(p, x, n);
}

// exp(x) = 2^n p for x in [-87.4, 88.8]; NaN gives NaN. Cody-Waite reduction x = n ln 2 + r with |r| <= ln(2) / 2, then
// a degree-6 polynomial (Taylor's terms, whose error at the ends of the interval is 1.2e-7 relative to the last kept
// bit).
static inline F f_exp_reduced(F x, F* n) {
  *n = f_round(f_mul(x, f_set1(1.44269504088896341f)));
  F r = f_fma(*n, f_set1(-0.693359375f), x);
  r = f_fma(*n, f_set1(2.12194440e-4f), r);
  F p = f_set1(1.0f / 720.0f);
  p = f_fma(p, r, f_set1(1.0f / 120.0f));
  p = f_fma(p, r, f_set1(1.0f / 24.0f));
  p = f_fma(p, r, f_set1(1.0f / 6.0f));
  p = f_fma(p, r, f_set1(0.5f));
  p = f_fma(p, r, f_set1(1.0f));
  return f_fma(p, r, f_set1(1.0f));
}

// exp(x). Relative error below 2e-7 for x in [-87.3, 88.7]; 0 below that, +inf above 88.72; NaN stays NaN.
static inline F f_exp(F x) {
  const F hi = f_set1(88.72f), lo = f_set1(-87.33f);
  F n;
  const F p = f_exp_reduced(f_min(hi, f_max(lo, x)), &n);  // operand order keeps NaN
  // 2^128 does not exist: scale in two steps so that results just below the largest float survive.
  const F half_n = f_round(f_mul(n, f_set1(0.5f)));
  F y = f_scale2(f_scale2(p, f_to_i(half_n)), f_to_i(f_sub(n, half_n)));
  y = f_select_less(x, lo, f_zero(), y);
  return f_select_less(hi, x, f_set1(__builtin_inff()), y);
}

// tanh(x) = 1 - 2 / (exp(2 x) + 1). Absolute error below 3e-7.
static inline F f_tanh(F x) {
  const F e = f_exp(f_add(x, x));
  return f_sub(f_set1(1.0f), f_div(f_set1(2.0f), f_add(e, f_set1(1.0f))));
}
