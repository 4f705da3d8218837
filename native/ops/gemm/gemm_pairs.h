// Panels of f32 as panels of bf16 pairs, included inside the region of level avx512.

// Two inputs of 16 outputs.
static inline I pair_of(F even, F odd) {
  const auto bits = [](F x) OUTRIDER_INLINE {
    const __m256bh rounded = _mm512_cvtneps_pbh(x.v);
    __m256i words;
    __builtin_memcpy(&words, &rounded, sizeof(words));
    return I{_mm512_cvtepu16_epi32(words)};
  };
  return i_or(bits(even), i_shift_left(bits(odd), 16));
}

void pair_panel(const float* panel, long cols, std::byte* out) {
  const long pairs = cols / 2;
  for (long k = 0; k < pairs; ++k)
    i_store(out + k * 64, pair_of(f_load(panel + 2 * k * kLanes), f_load(panel + (2 * k + 1) * kLanes)));
  if (cols % 2 == 0) return;
  const __m256bh last = _mm512_cvtneps_pbh(f_load(panel + 2 * pairs * kLanes).v);
  __builtin_memcpy(out + pairs * 64, &last, sizeof(last));
}
