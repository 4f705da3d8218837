#include "cpu/level.h"

#include <cstdlib>
#include <cstring>

#ifdef __x86_64__
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace outrider {
namespace {

constexpr const char* kNames[kLevels] = {"ref",         "avx2",   "avx2-vnni",  "avx512-base",
                                         "avx512-vnni", "avx512", "avx512-amx", "neon"};

// Which levels the machine can run.
struct Features {
  bool avx2 = false, avx2_vnni = false;
  bool avx512f = false, avx512_vnni = false, avx512_bf16 = false, avx512_amx = false;
};

// True if OUTRIDER_ISA names a lower level.
bool forced_below(Level level) {
  const char* forced = std::getenv("OUTRIDER_ISA");
  Level wanted;
  return forced != nullptr && level_named(forced, &wanted) && wanted < level;
}

// Linux saves the tile registers of a process that asked for it, once, for all its threads; it refuses where a thread
// has a signal stack that their contents would not fit, and from then on refuses such stacks.
bool may_use_tiles() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

// CPUID says what the processor has; XGETBV says which registers the operating system saves. Both must agree.
Features detect() {
  Features features;
#ifdef __x86_64__
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return features;
  const bool fma = (c >> 12) & 1u, osxsave = (c >> 27) & 1u, f16c = (c >> 29) & 1u;
  if (!osxsave) return features;
  unsigned xcr0 = 0, xcr0_high = 0;
  __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(xcr0_high) : "c"(0));
  const bool saves_ymm = (xcr0 & 0x6u) == 0x6u, saves_zmm = (xcr0 & 0xE6u) == 0xE6u;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return features;
  const bool avx2 = (b >> 5) & 1u;
  const bool f = (b >> 16) & 1u, dq = (b >> 17) & 1u, bw = (b >> 30) & 1u, vl = (b >> 31) & 1u, vnni = (c >> 11) & 1u;
  const bool saves_tiles = (xcr0 & 0x60000u) == 0x60000u,
             amx = ((d >> 22) & 1u) && ((d >> 24) & 1u) && ((d >> 25) & 1u);
  features.avx2 = saves_ymm && avx2 && fma && f16c;
  features.avx512f = features.avx2 && saves_zmm && f && dq && bw && vl;
  features.avx512_vnni = features.avx512f && vnni;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) {
    features.avx2_vnni = features.avx2 && ((a >> 4) & 1u);
    features.avx512_bf16 = features.avx512_vnni && ((a >> 5) & 1u);
    features.avx512_amx = features.avx512_bf16 && saves_tiles && amx;
  }
#endif
  return features;
}

struct Choice {
  Level level;
  const char* reason;
};

bool same_family(const char* a, const char* b) {
  const auto length = [](const char* name) { return std::strcspn(name, "-"); };
  return length(a) == length(b) && std::strncmp(a, b, length(a)) == 0;
}

Choice choose() {
  Level best = Level::kRef;
  for (int i = 0; i < kLevels; ++i) {
    if (level_available(static_cast<Level>(i))) best = static_cast<Level>(i);
  }
  const char* forced = std::getenv("OUTRIDER_ISA");
  if (forced == nullptr || *forced == '\0') return {best, "best available"};
  Level wanted;
  if (!level_named(forced, &wanted)) return {best, "OUTRIDER_ISA names no known level; using the best available"};
  if (level_available(wanted)) return {wanted, "OUTRIDER_ISA"};
  for (int i = static_cast<int>(wanted) - 1; i >= 0; --i) {
    if (level_available(static_cast<Level>(i)) && same_family(forced, kNames[i])) {
      return {static_cast<Level>(i), "OUTRIDER_ISA, as far as this machine has it"};
    }
  }
  return {best, "OUTRIDER_ISA names a level this machine cannot run; using the best available"};
}

const Choice& choice() {
  static const Choice chosen = choose();
  return chosen;
}

}  // namespace

bool level_named(const char* name, Level* level) {
  for (int i = 0; i < kLevels; ++i) {
    if (std::strcmp(name, kNames[i]) != 0) continue;
    *level = static_cast<Level>(i);
    return true;
  }
  return false;
}

const char* level_name(Level level) { return kNames[static_cast<int>(level)]; }

bool level_available(Level level) {
  static const Features features = detect();
  static const bool may_use_amx = features.avx512_amx && !forced_below(Level::kAvx512Amx) && may_use_tiles();
  switch (level) {
    case Level::kRef:
      return true;
    case Level::kAvx2:
      return features.avx2;
    case Level::kAvx2Vnni:
      return features.avx2_vnni;
    case Level::kAvx512f:
      return features.avx512f;
    case Level::kAvx512Vnni:
      return features.avx512_vnni;
    case Level::kAvx512:
      return features.avx512_bf16;
    case Level::kAvx512Amx:
      return may_use_amx;
    case Level::kNeon:
      return false;
  }
  return false;
}

Level level_chosen() { return choice().level; }
const char* level_reason() { return choice().reason; }

}  // namespace outrider
