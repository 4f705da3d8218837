// Twelve independent sums, enough to hide the latency of an instruction, included inside a level's region.

// Dot products of `rounds` rounds; each is 64 multiply-accumulates of int8.
std::int64_t int8_dots(long rounds) {
  constexpr int kSums = 12;
  I sums[kSums];
  OUTRIDER_UNROLL
  for (int i = 0; i < kSums; ++i) sums[i] = i_set1(i);  // equal sums would be done once
  const I codes = i_set1(0x01010101);
  I x = codes;
  for (long round = 0; round < rounds; ++round) {
    // Unknown to the compiler, or it would do the sum once.
    __asm__ volatile("" : : "r"(&x) : "memory");
    OUTRIDER_UNROLL
    for (int i = 0; i < kSums; ++i) sums[i] = i_dot4_small(sums[i], codes, x);
  }
  I total = i_zero();
  OUTRIDER_UNROLL
  for (int i = 0; i < kSums; ++i) total = i_add(total, sums[i]);
  return i_sum(total) == -1 ? 0 : rounds * kSums;  // never -1, which the compiler cannot know
}

// The same of f32, 16 each.
std::int64_t f32_fmas(long rounds) {
  constexpr int kSums = 12;
  F sums[kSums];
  OUTRIDER_UNROLL
  for (int i = 0; i < kSums; ++i) sums[i] = f_set1(static_cast<float>(i));
  const F small = f_set1(1e-9f);
  F x = small;
  for (long round = 0; round < rounds; ++round) {
    __asm__ volatile("" : : "r"(&x) : "memory");
    OUTRIDER_UNROLL
    for (int i = 0; i < kSums; ++i) sums[i] = f_fma(small, x, sums[i]);
  }
  F total = f_zero();
  OUTRIDER_UNROLL
  for (int i = 0; i < kSums; ++i) total = f_add(total, sums[i]);
  return f_sum(total) == -1 ? 0 : rounds * kSums;
}

#if defined(OUTRIDER_HAS_BF16)
// The same of bf16, 32 each.
std::int64_t bf16_dots(long rounds) {
  constexpr int kSums = 12;
  F sums[kSums];
  OUTRIDER_UNROLL
  for (int i = 0; i < kSums; ++i) sums[i] = f_set1(static_cast<float>(i));
  const I small = i_set1(0x30003000);
  I x = small;
  for (long round = 0; round < rounds; ++round) {
    __asm__ volatile("" : : "r"(&x) : "memory");
    OUTRIDER_UNROLL
    for (int i = 0; i < kSums; ++i) sums[i] = f_dot2(sums[i], small, x);
  }
  F total = f_zero();
  OUTRIDER_UNROLL
  for (int i = 0; i < kSums; ++i) total = f_add(total, sums[i]);
  return f_sum(total) == -1 ? 0 : rounds * kSums;
}
#endif
