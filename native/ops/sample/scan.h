// What the sampler asks of every token of a vocabulary. All else it does concerns few of them.
//
// Noise and masses are the same numbers on every level: products and sums of doubles in one order, none of them fused.
#pragma once

#include <cstdint>

#include "cpu/level.h"

namespace outrider::ops {

// The noise of a token: uniforms and Gumbel values of a stream of (seed, position), see sample.h.
constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15u;

// Stateless 64-bit mixer (the finaliser of splitmix64).
constexpr std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9u;
  x ^= x >> 27;
  x *= 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

constexpr std::uint32_t uniform_bits(std::uint64_t stream, std::uint64_t token) {
  return static_cast<std::uint32_t>(mix(stream + (token + 1) * kGolden) >> 32);
}

struct ScanArgs {
  const float* logits;
  long V;
  std::int32_t* ids = nullptr;  // [V], out: of the tokens that were found, in order; a NaN is never among them
  long count = 0;               // out
  float largest = 0;            // largest: out; noise, mass: that, finite
  double inverse = 1;           // the same: 1 / temperature, positive
  float least = 0;              // least
  double mark = 0;              // noise
  std::uint64_t stream = 0;     // the same
  double mass = 0;              // mass: out
};

// One pass over V each. Reentrant.
struct Scans {
  // The largest logit, -infinity if there is none.
  void (*largest)(ScanArgs&);
  // Tokens whose logit is `least` or more.
  void (*least)(ScanArgs&);
  // All tokens for which logit * inverse + gumbel >= largest * inverse + mark, and a few for which it is not. For
  // inverse and largest of less than 1e30 and a mark above -1000: it works in floats.
  void (*noise)(ScanArgs&);
  // The sum of exp(logit * inverse - largest * inverse) within 1e-12 of itself.
  void (*mass)(ScanArgs&);
};

Scans scans_of(Level level);
unsigned scan_levels();

}  // namespace outrider::ops

namespace outrider::ref {
ops::Scans scans();
}
namespace outrider::avx2 {
ops::Scans scans();
}
namespace outrider::avx512f {
ops::Scans scans();
}
