// 16-lane vectors as pairs of AVX2 registers: the vocabulary in which every vector kernel is written once. Included by
// the region headers of the AVX2 levels, inside their namespace. All vector levels give the same 16 lanes the same
// operations in the same order, so such a kernel gives the same bits on all of them.

constexpr int kRegisters = 16, kPieces = 2;  // of the level, and that make 16 lanes

// 16 lanes of f32.
struct F {
  __m256 a, b;
};
// 16 lanes of i32.
struct I {
  __m256i a, b;
};

static inline F f_zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
static inline F f_set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
static inline F f_load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
static inline void f_store(float* p, F x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
static inline F f_add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
static inline F f_sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
static inline F f_mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
static inline F f_div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
// x * y + z with one rounding.
static inline F f_fma(F x, F y, F z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
// The second operand where either is NaN.
static inline F f_max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
static inline F f_min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
static inline F f_round(F x) {
  return {_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
          _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
static inline F f_abs(F x) {
  const __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
  return {_mm256_and_ps(x.a, mask), _mm256_and_ps(x.b, mask)};
}
// Lanes where x < y take t, the others f (false where either is NaN).
static inline F f_select_less(F x, F y, F t, F f) {
  return {_mm256_blendv_ps(f.a, t.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
          _mm256_blendv_ps(f.b, t.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
}
// Whether any lane is NaN.
static inline bool f_any_nan(F x) {
  const __m256 nans = _mm256_or_ps(_mm256_cmp_ps(x.a, x.a, _CMP_UNORD_Q), _mm256_cmp_ps(x.b, x.b, _CMP_UNORD_Q));
  return _mm256_movemask_ps(nans) != 0;
}
static inline F f_load_f16(const std::uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
static inline void f_store_f16(std::uint16_t* p, F x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
static inline F f_load_bf16(const std::uint16_t* p) {
  const __m256i lo = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  const __m256i hi = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(lo, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(hi, 16))};
}

static inline I i_zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
static inline I i_set1(std::int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
static inline I i_load(const void* p) {
  const auto* q = static_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
static inline I i_and(I x, I y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
static inline I i_or(I x, I y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
static inline I i_add(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
// The bits as f32.
static inline F i_as_f(I x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
// By a count that is a constant once loops are unrolled.
static inline I i_shift_left(I x, int n) { return {(__m256i)((__v8su)x.a << n), (__m256i)((__v8su)x.b << n)}; }
static inline I i_shift_right(I x, int n) { return {(__m256i)((__v8su)x.a >> n), (__m256i)((__v8su)x.b >> n)}; }
static inline I i_shift_right_signed(I x, int n) { return {(__m256i)((__v8si)x.a >> n), (__m256i)((__v8si)x.b >> n)}; }
// The first `lanes` as int8, saturated.
static inline void i_store_i8(std::int8_t* p, I x, int lanes) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xD8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  if (lanes == 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  } else {
    __builtin_memcpy(p, &bytes, static_cast<unsigned>(lanes));
  }
}
static inline F i_to_f(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
static inline I f_to_i(F x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
#if defined(OUTRIDER_HAS_VNNI)
// acc + the four products of each 32-bit lane: unsigned bytes of u times signed bytes of s.
static inline I i_dot4(I acc, I u, I s) {
  __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc.a) : "x"(u.a), "x"(s.a));
  __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc.b) : "x"(u.b), "x"(s.b));
  return acc;
}
#endif
// Sums of 16 bits, two to a lane: words + the products of two neighbouring bytes, unsigned of u times signed of s.
// Exact while they fit.
static inline I i_dot2_words(I words, I u, I s) {
  // As assembly, because GCC 12 regroups these sums, which takes more registers than there are.
  __asm__("vpaddw %1, %0, %0" : "+x"(words.a) : "x"(_mm256_maddubs_epi16(u.a, s.a)));
  __asm__("vpaddw %1, %0, %0" : "+x"(words.b) : "x"(_mm256_maddubs_epi16(u.b, s.b)));
  return words;
}
// acc + weight times the two words of each lane.
static inline I i_add_words(I acc, I words, int weight) {
  const __m256i factor = _mm256_set1_epi16(static_cast<short>(weight));
  return {_mm256_add_epi32(acc.a, _mm256_madd_epi16(words.a, factor)),
          _mm256_add_epi32(acc.b, _mm256_madd_epi16(words.b, factor))};
}
// Adds 2^n to the exponent: x * 2^n for n held as integers, in range.
static inline F f_scale2(F x, I n) {
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256 a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n.a, bias), 23));
  const __m256 b = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n.b, bias), 23));
  return {_mm256_mul_ps(x.a, a), _mm256_mul_ps(x.b, b)};
}
static inline __m256i i_fold_half(I x) { return _mm256_add_epi32(x.a, x.b); }
static inline __m256 f_fold_half(F x) { return _mm256_add_ps(x.a, x.b); }
static inline __m256 f_fold_max_half(F x) { return _mm256_max_ps(x.a, x.b); }

#include "cpu/simd_common.h"
