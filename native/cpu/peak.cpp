#include "cpu/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "base/thread_pool.h"
#include "cpu/level.h"

#ifdef __x86_64__
#define OUTRIDER_DECLARE(level)        \
  namespace outrider::level {          \
  std::int64_t int8_dots(long rounds); \
  std::int64_t f32_fmas(long rounds);  \
  }
OUTRIDER_DECLARE(avx2)
OUTRIDER_DECLARE(avx512vnni)
#undef OUTRIDER_DECLARE
namespace outrider::avx512 {
std::int64_t bf16_dots(long rounds);
}
#endif

namespace outrider {
namespace {

using Instructions = std::int64_t (*)(long rounds);

// `each`: multiply-accumulates of one instruction.
double probe(Instructions run, int each, int threads) {
  if (run == nullptr) return 0;
  constexpr long kRounds = 2'000'000;
  double best = 0;
  for (int pass = 0; pass < 5; ++pass) {
    std::atomic<std::int64_t> done{0};
    const auto start = std::chrono::steady_clock::now();
    parallel(threads, [&](int, int) { done += run(kRounds); });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, static_cast<double>(done) * each / seconds / 1e9);
  }
  return best;
}

#ifdef __x86_64__
constexpr Kernel<Instructions> kInt8[] = {
    {Level::kAvx512Vnni, avx512vnni::int8_dots}, {Level::kAvx2, avx2::int8_dots}, {Level::kRef, nullptr}};
constexpr Kernel<Instructions> kBf16[] = {{Level::kAvx512, avx512::bf16_dots}, {Level::kRef, nullptr}};
constexpr Kernel<Instructions> kF32[] = {
    {Level::kAvx512Vnni, avx512vnni::f32_fmas}, {Level::kAvx2, avx2::f32_fmas}, {Level::kRef, nullptr}};
#else
constexpr Kernel<Instructions> kInt8[] = {{Level::kRef, nullptr}}, kBf16[] = {{Level::kRef, nullptr}},
                               kF32[] = {{Level::kRef, nullptr}};
#endif

}  // namespace

double probe_int8_peak(int threads) { return probe(kernel_for(kInt8, level_chosen()), 64, threads); }
double probe_bf16_peak(int threads) { return probe(kernel_for(kBf16, level_chosen()), 32, threads); }
double probe_f32_peak(int threads) { return probe(kernel_for(kF32, level_chosen()), 16, threads); }

}  // namespace outrider
