// Twelve independent sums, enough to hide the latency of the dot product, included inside a level's region.

// Dot products of `rounds` rounds; each is 64 multiply-accumulates.
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
