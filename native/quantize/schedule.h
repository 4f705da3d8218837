// In which order training takes the sequences, and how fast it learns.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <numeric>
#include <vector>

namespace outrider::quantize {

// splitmix64 (Steele, Lea, Flood 2014)
inline std::uint64_t next_random(std::uint64_t* state) {
  std::uint64_t z = *state += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

// The order of an epoch, which depends on nothing but the arguments, so that a resumed run finds its place.
inline std::vector<std::size_t> shuffled(std::size_t count, std::uint64_t seed, std::uint64_t epoch) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::uint64_t state = seed + (epoch << 32);
  for (std::size_t i = count - 1; i > 0; --i) std::swap(order[i], order[next_random(&state) % (i + 1)]);
  return order;
}

// From 1 to a tenth along a cosine.
inline double falling(long t, long steps) {
  return 0.55 + 0.45 * std::cos(std::numbers::pi * static_cast<double>(t) / static_cast<double>(steps));
}

}  // namespace outrider::quantize
