// 16-lane vectors in one AVX-512 register: the vocabulary of cpu/avx2_lanes.h, lane for lane. Included by the region
// headers of the AVX-512 levels, inside their namespace.

constexpr int kRegisters = 32, kPieces = 1;  // of the level, and that make 16 lanes

// 16 lanes of f32.
struct F {
  __m512 v;
};
// 16 lanes of i32.
struct I {
  __m512i v;
};

static inline F f_zero() { return {_mm512_setzero_ps()}; }
static inline F f_set1(float x) { return {_mm512_set1_ps(x)}; }
static inline F f_load(const float* p) { return {_mm512_loadu_ps(p)}; }
static inline void f_store(float* p, F x) { _mm512_storeu_ps(p, x.v); }
static inline F f_add(F x, F y) { return {_mm512_add_ps(x.v, y.v)}; }
static inline F f_sub(F x, F y) { return {_mm512_sub_ps(x.v, y.v)}; }
static inline F f_mul(F x, F y) { return {_mm512_mul_ps(x.v, y.v)}; }
static inline F f_div(F x, F y) { return {_mm512_div_ps(x.v, y.v)}; }
static inline F f_fma(F x, F y, F z) { return {_mm512_fmadd_ps(x.v, y.v, z.v)}; }
static inline F f_max(F x, F y) { return {_mm512_max_ps(x.v, y.v)}; }
static inline F f_min(F x, F y) { return {_mm512_min_ps(x.v, y.v)}; }
static inline F f_round(F x) { return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
static inline F f_abs(F x) { return {_mm512_abs_ps(x.v)}; }
static inline F f_select_less(F x, F y, F t, F f) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, y.v, _CMP_LT_OQ), f.v, t.v)};
}
static inline bool f_any_nan(F x) { return _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q) != 0; }
static inline F f_load_f16(const std::uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
static inline void f_store_f16(std::uint16_t* p, F x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT));
}
static inline F f_load_bf16(const std::uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}

static inline I i_zero() { return {_mm512_setzero_si512()}; }
static inline I i_set1(std::int32_t x) { return {_mm512_set1_epi32(x)}; }
static inline I i_load(const void* p) { return {_mm512_loadu_si512(p)}; }
static inline I i_and(I x, I y) { return {_mm512_and_si512(x.v, y.v)}; }
static inline I i_or(I x, I y) { return {_mm512_or_si512(x.v, y.v)}; }
static inline I i_add(I x, I y) { return {_mm512_add_epi32(x.v, y.v)}; }
static inline F i_as_f(I x) { return {_mm512_castsi512_ps(x.v)}; }
static inline I i_shift_left(I x, int n) { return {(__m512i)((__v16su)x.v << n)}; }
static inline I i_shift_right(I x, int n) { return {(__m512i)((__v16su)x.v >> n)}; }
static inline I i_shift_right_signed(I x, int n) { return {(__m512i)((__v16si)x.v >> n)}; }
// The first `lanes` as int8, saturated.
static inline void i_store_i8(std::int8_t* p, I x, int lanes) {
  if (lanes == 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(x.v));
  } else {
    _mm512_mask_cvtsepi32_storeu_epi8(p, static_cast<__mmask16>((1u << lanes) - 1), x.v);
  }
}
static inline void i_store(void* p, I x) { _mm512_storeu_si512(p, x.v); }
// The first n (0..16) lanes; nothing past them is written.
static inline void i_store_n(void* p, I x, int n) {
  _mm512_mask_storeu_epi32(p, static_cast<__mmask16>((1u << n) - 1u), x.v);
}
// 16 u16, each in a lane of its own.
static inline I i_load_u16(const void* p) {
  return {_mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)))};
}
static inline F i_to_f(I x) { return {_mm512_cvtepi32_ps(x.v)}; }
static inline I f_to_i(F x) { return {_mm512_cvtps_epi32(x.v)}; }
#if defined(OUTRIDER_HAS_VNNI)
// acc + the four products of each 32-bit lane: unsigned bytes of u times signed bytes of s. As assembly, because GCC 12
// copies and spills the accumulators of a large tile around the builtin.
static inline I i_dot4(I acc, I u, I s) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc.v) : "v"(u.v), "v"(s.v));
  return acc;
}
#endif
// Sums of 16 bits, two to a lane: words + the products of two neighbouring bytes, unsigned of u times signed of s.
// Exact while they fit.
static inline I i_dot2_words(I words, I u, I s) {
  __asm__("vpaddw %1, %0, %0" : "+v"(words.v) : "v"(_mm512_maddubs_epi16(u.v, s.v)));
  return words;
}
// acc + weight times the two words of each lane.
static inline I i_add_words(I acc, I words, int weight) {
  return {_mm512_add_epi32(acc.v, _mm512_madd_epi16(words.v, _mm512_set1_epi16(static_cast<short>(weight))))};
}
#if defined(OUTRIDER_HAS_BF16)
// acc + the two products of bf16 of each 32-bit lane. As assembly for the same reason.
static inline F f_dot2(F acc, I pairs, I other) {
  __asm__("vdpbf16ps %2, %1, %0" : "+v"(acc.v) : "v"(pairs.v), "v"(other.v));
  return acc;
}
// 32 numbers rounded to bf16, in order, in pairs.
static inline I f_to_bf16_pairs(F low, F high) {
  const __m512bh both = _mm512_cvtne2ps_pbh(high.v, low.v);
  I pairs;
  __builtin_memcpy(&pairs.v, &both, sizeof(pairs.v));
  return pairs;
}
#endif
static inline F f_scale2(F x, I n) {
  return {
      _mm512_mul_ps(x.v, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n.v, _mm512_set1_epi32(127)), 23)))};
}
static inline __m256i i_fold_half(I x) {
  return _mm256_add_epi32(_mm512_castsi512_si256(x.v), _mm512_extracti64x4_epi64(x.v, 1));
}
static inline __m256 f_fold_half(F x) {
  return _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
}
static inline __m256 f_fold_max_half(F x) {
  return _mm256_max_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
}

#include "cpu/simd_common.h"
