// Opens a region compiled for AVX-512 (F, BW, DQ, VL, VNNI) inside namespace outrider::avx512, with 16-lane vectors in
// one register. The vocabulary is that of cpu/begin_avx2.h, lane for lane. Close with cpu/end.h.
#include <immintrin.h>

#include <cstdint>

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c,bmi2")
#endif

#define OUTRIDER_LEVEL_AVX512 1

namespace outrider::avx512 {

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
static inline I i_add(I x, I y) { return {_mm512_add_epi32(x.v, y.v)}; }
// By a count that is a constant once loops are unrolled.
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
static inline F i_to_f(I x) { return {_mm512_cvtepi32_ps(x.v)}; }
static inline I f_to_i(F x) { return {_mm512_cvtps_epi32(x.v)}; }
// acc + the four products of each 32-bit lane: unsigned bytes of u times signed bytes of s. As assembly, because GCC 12
// copies and spills the accumulators of a large tile around the builtin.
static inline I i_dot4(I acc, I u, I s) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(acc.v) : "v"(u.v), "v"(s.v));
  return acc;
}
static inline I i_dot4_small(I acc, I u, I s) { return i_dot4(acc, u, s); }
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
