// The scans, included inside a level's region. Vectors have 64 bytes on every level, which the compiler splits into
// registers of the level's width: sums are then in the same order everywhere.

using Floats __attribute__((vector_size(64))) = float;
using Ints __attribute__((vector_size(64))) = std::int32_t;
using Doubles __attribute__((vector_size(64))) = double;
using Words __attribute__((vector_size(64))) = std::uint64_t;
using HalfFloats __attribute__((vector_size(32))) = float;
using HalfWords __attribute__((vector_size(32))) = std::uint32_t;

constexpr long kScanBlock = 256;

// Calls visit(logits, first id, count) for each block; the last one is filled up with -infinity.
template <typename Visit>
static inline void each_block(const ops::ScanArgs& args, Visit visit) {
  alignas(64) float last[kScanBlock];
  for (long begin = 0; begin < args.V; begin += kScanBlock) {
    const long count = args.V - begin;
    if (count >= kScanBlock) {
      visit(args.logits + begin, begin, kScanBlock);
      continue;
    }
    for (long i = 0; i < kScanBlock; ++i) last[i] = i < count ? args.logits[begin + i] : -__builtin_inff();
    visit(last, begin, count);
  }
}

// Appends the ids of a block for whose logits test(place in the block, logits, &is) finds `is` true.
template <typename Test>
static inline void take_where(ops::ScanArgs& args, const float* logits, long begin, long count, Test test) {
  alignas(64) std::int32_t found[kScanBlock];
  Ints some = {};
  for (long i = 0; i < kScanBlock; i += 16) {
    Floats x;
    Ints is;
    __builtin_memcpy(&x, logits + i, sizeof(x));
    test(i, x, &is);
    __builtin_memcpy(found + i, &is, sizeof(is));
    some |= is;
  }
  std::int32_t any = 0;
  for (int lane = 0; lane < 16; ++lane) any |= some[lane];
  if (any == 0) return;
  for (long i = 0; i < count; ++i) {
    if (found[i] != 0) args.ids[args.count++] = static_cast<std::int32_t>(begin + i);
  }
}

static void scan_largest(ops::ScanArgs& args) {
  Floats most = Floats{} - __builtin_inff();
  each_block(args, [&most](const float* logits, long, long) {
    for (long i = 0; i < kScanBlock; i += 16) {
      Floats x;
      __builtin_memcpy(&x, logits + i, sizeof(x));
      most = x > most ? x : most;
    }
  });
  args.largest = most[0];
  for (int lane = 1; lane < 16; ++lane) args.largest = most[lane] > args.largest ? most[lane] : args.largest;
}

static void scan_least(ops::ScanArgs& args) {
  args.count = 0;
  each_block(args, [&args](const float* logits, long begin, long count) {
    const float least = args.least;
    take_where(args, logits, begin, count, [least](long, const Floats& x, Ints* is) { *is = x >= least; });
  });
}

// g = -log(-log u) is at most -log(1 - u), so that logit * inverse + g >= largest * inverse + mark needs 1 - u <=
// exp(t) with t = (logit - largest) * inverse - mark. The right side is a float here, within a thousandth, and a
// hundredth is allowed for.
static void scan_noise(ops::ScanArgs& args) {
  args.count = 0;
  constexpr float kLog2e = 1.44269504f, kShift = 12582912.0f;  // 1.5 * 2^23: a sum with it is rounded to an integer
  const float inverse = static_cast<float>(args.inverse * 1.4426950408889634), largest = args.largest;
  const float mark = static_cast<float>(args.mark) * kLog2e;
  Words lane;
  for (int i = 0; i < 8; ++i) lane[i] = static_cast<std::uint64_t>(i) * ops::kGolden;
  each_block(args, [&](const float* logits, long begin, long count) {
    alignas(64) std::int32_t rest[kScanBlock];  // (1 - u) * 2^31, rounded down
    const std::uint64_t first = args.stream + (static_cast<std::uint64_t>(begin) + 1) * ops::kGolden;
    for (long i = 0; i < kScanBlock; i += 8) {
      Words x = lane + (first + static_cast<std::uint64_t>(i) * ops::kGolden);
      x ^= x >> 30;  // ops::mix
      x *= 0xBF58476D1CE4E5B9u;
      x ^= x >> 27;
      x *= 0x94D049BB133111EBu;
      x ^= x >> 31;
      const HalfWords part = __builtin_convertvector(~x >> 33, HalfWords);
      __builtin_memcpy(rest + i, &part, sizeof(part));
    }
    take_where(args, logits, begin, count, [&](long i, const Floats& logit, Ints* is) {
      Ints one_less;
      __builtin_memcpy(&one_less, rest + i, sizeof(one_less));
      const Floats t = (logit - largest) * inverse - mark;
      const Floats above = t > -100.0f ? t : Floats{} - 100.0f, in = above < 100.0f ? above : Floats{} + 100.0f;
      const Floats whole = (in + kShift) - kShift, f = in - whole;
      const Floats p = ((0.0555041f * f + 0.240226507f) * f + 0.693147181f) * f + 1.0f;
      const Ints bits = (__builtin_convertvector(whole, Ints) + 127) << 23;
      Floats power;
      __builtin_memcpy(&power, &bits, sizeof(power));
      const Floats share = __builtin_convertvector(one_less, Floats) * 0x1p-31f;
      *is = (share <= p * power * 1.01f) & (t > -__builtin_inff());  // neither NaN nor suppressed
    });
  });
}

// exp(t) for t <= 0: t = k log 2 + r, and the series of exp(r) to the power of 13 by Horner's rule, which is within 2
// units in the last place. Below -708, where NaN counts too, it is less than 1e-306.
static void scan_mass(ops::ScanArgs& args) {
  constexpr double kShift = 6755399441055744.0;  // 1.5 * 2^52: a sum with it has an integer in its low bits
  const double inverse = args.inverse, largest = static_cast<double>(args.largest) * inverse;
  Doubles sums = {};
  each_block(args, [&](const float* logits, long, long) {
    for (long i = 0; i < kScanBlock; i += 8) {
      HalfFloats logit;
      __builtin_memcpy(&logit, logits + i, sizeof(logit));
      const Doubles t = __builtin_convertvector(logit, Doubles) * inverse - largest;
      const Doubles x = t > -708.0 ? t : Doubles{} - 708.0;
      const Doubles shifted = x * 1.4426950408889634 + kShift, k = shifted - kShift;
      const Doubles r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10;  // log 2 in two parts
      Doubles p = r * 1.6059043836821613e-10 + 2.08767569878681e-9;
      p = p * r + 2.505210838544172e-8;
      p = p * r + 2.755731922398589e-7;
      p = p * r + 2.7557319223985893e-6;
      p = p * r + 2.48015873015873e-5;
      p = p * r + 1.984126984126984e-4;
      p = p * r + 1.388888888888889e-3;
      p = p * r + 8.333333333333333e-3;
      p = p * r + 4.1666666666666664e-2;
      p = p * r + 1.6666666666666666e-1;
      p = p * r + 0.5;
      p = p * r + 1.0;
      p = p * r + 1.0;
      Words bits;
      __builtin_memcpy(&bits, &shifted, sizeof(bits));
      bits = (bits - 0x4338000000000000u + 1023) << 52;  // those of 2^k
      Doubles power;
      __builtin_memcpy(&power, &bits, sizeof(power));
      sums += p * power;
    }
  });
  args.mass = ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

ops::Scans scans() { return {scan_largest, scan_least, scan_noise, scan_mass}; }
