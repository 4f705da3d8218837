// A fast 64-bit checksum for snapshots and fingerprints: finds damage, does not resist an attacker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace outrider {

inline std::uint64_t hash64(const void* data, std::size_t bytes, std::uint64_t seed = 0) {
  const auto* p = static_cast<const unsigned char*>(data);
  std::uint64_t h = seed ^ (bytes * 0x9E3779B97F4A7C15u);
  const auto step = [&h](std::uint64_t word) {
    h = (h ^ word) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
  };
  for (; bytes >= 8; bytes -= 8, p += 8) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    step(word);
  }
  std::uint64_t last = 0;
  std::memcpy(&last, p, bytes);
  step(last);
  step(h >> 29);
  return h;
}

}  // namespace outrider
