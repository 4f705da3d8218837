// Chains of one instruction, included inside a level's region after kSums: as many independent sums as hide its latency
// and still fit the registers.

// `rounds` times `step(sum, x)` on every sum; returns the number of steps.
template <typename Sum, typename X, typename Step>
static inline std::int64_t chains(long rounds, Sum zero, X x, Step step) {
  Sum memory[kSums], sums[kSums];
  for (int i = 0; i < kSums; ++i) memory[i] = zero;
  // What follows is unknown to the compiler, or it would do equal sums once.
  __asm__ volatile("" : : "r"(&memory) : "memory");
  OUTRIDER_UNROLL
  for (int i = 0; i < kSums; ++i) sums[i] = memory[i];
  for (long round = 0; round < rounds; ++round) {
    __asm__ volatile("" : : "r"(&x) : "memory");
    OUTRIDER_UNROLL
    for (int i = 0; i < kSums; ++i) sums[i] = step(sums[i], x);
  }
  OUTRIDER_UNROLL
  for (int i = 0; i < kSums; ++i) memory[i] = sums[i];
  __asm__ volatile("" : : "r"(&memory) : "memory");
  return rounds * kSums;
}

// Each step is 64 multiply-accumulates of int8.
std::int64_t int8_dots(long rounds) {
  const I codes = i_set1(0x01010101);
#if defined(OUTRIDER_HAS_VNNI)
  return chains(rounds, i_zero(), codes, [&](I sum, I x) OUTRIDER_INLINE { return i_dot4(sum, codes, x); });
#else
  return chains(rounds, i_zero(), codes, [&](I sum, I x) OUTRIDER_INLINE { return i_dot2_words(sum, codes, x); });
#endif
}

// Each step is 16 of f32.
std::int64_t f32_fmas(long rounds) {
  const F small = f_set1(1e-9f);
  return chains(rounds, f_zero(), small, [&](F sum, F x) OUTRIDER_INLINE { return f_fma(small, x, sum); });
}

#if defined(OUTRIDER_HAS_BF16)
// Each step is 32 of bf16.
std::int64_t bf16_dots(long rounds) {
  const I small = i_set1(0x30003000);
  return chains(rounds, f_zero(), small, [&](F sum, I x) OUTRIDER_INLINE { return f_dot2(sum, small, x); });
}
#endif
