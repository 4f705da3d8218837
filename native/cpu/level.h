// Which kernels this machine runs. One level is chosen when the addon loads and stays; OUTRIDER_ISA=ref|avx2|avx512
// forces one.
#pragma once

#include <cstddef>
#include <span>

namespace outrider {

enum class Level : int {
  kRef = 0,     // any machine: scalar, sums in double
  kAvx2 = 1,    // AVX2, FMA, F16C
  kAvx512 = 2,  // AVX-512 F, BW, DQ, VL, VNNI
};
constexpr int kLevels = 3;

const char* level_name(Level level);
// False if no level has that name.
bool level_named(const char* name, Level* level);
// True if the processor and the operating system can run it.
bool level_available(Level level);
// The level of this process: OUTRIDER_ISA if it names an available level, else the best one.
Level level_chosen();
// Why: "best available", "OUTRIDER_ISA", or what was wrong with OUTRIDER_ISA.
const char* level_reason();

// One row of an op's kernel table, best first.
template <typename Fn>
struct Kernel {
  Level level;
  Fn run;
};

// The first kernel of the table at or below `level`. Every table ends with kRef.
template <typename Fn, std::size_t N>
Fn kernel_for(const Kernel<Fn> (&table)[N], Level level) {
  for (const Kernel<Fn>& kernel : table) {
    if (kernel.level <= level) return kernel.run;
  }
  return table[N - 1].run;
}

// Levels an op has of its own, for tests: a bit per Level.
template <typename Fn, std::size_t N>
unsigned kernel_levels(const Kernel<Fn> (&table)[N]) {
  unsigned bits = 0;
  for (const Kernel<Fn>& kernel : table) bits |= 1u << static_cast<int>(kernel.level);
  return bits;
}

}  // namespace outrider
