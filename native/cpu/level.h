// Which kernels this machine runs. One level is chosen when the addon loads and stays; OUTRIDER_ISA names another, or
// the best below it that this machine has.
#pragma once

#include <cstddef>
#include <span>

namespace outrider {

// Each level has all instructions of those below it, and an op has a kernel for the levels where that pays.
enum class Level : int {
  kRef = 0,         // any machine: scalar, sums in double
  kAvx2 = 1,        // AVX2, FMA, F16C                          Haswell, Zen 1 to 3
  kAvx2Vnni = 2,    // and AVX-VNNI                             Alder Lake
  kAvx512f = 3,     // AVX-512 F, BW, DQ, VL                    Skylake-X
  kAvx512Vnni = 4,  // and VNNI                                 Cascade Lake, Ice Lake
  kAvx512 = 5,      // and BF16                                 Cooper Lake, Sapphire Rapids, Zen 4 and 5
  kAvx512Amx = 6,   // and AMX TILE, INT8 and BF16              Sapphire Rapids, Granite Rapids
  kNeon = 7,        // reserved: no kernels yet, never available
};
constexpr int kLevels = 8;

const char* level_name(Level level);
// False if no level has that name.
bool level_named(const char* name, Level* level);
// True if the processor and the operating system can run it. Tiles need a permission that a process keeps for good: it
// is not asked for, and kAvx512Amx not available, where OUTRIDER_ISA names a lower level.
bool level_available(Level level);
// The level of this process: OUTRIDER_ISA if it names an available level, the best of the same family below it if it
// names one that is not (avx512 on a machine without BF16 is avx512-vnni), else the best one.
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
