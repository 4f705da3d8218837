#include "cpu/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "base/thread_pool.h"
#include "cpu/level.h"

#ifdef __x86_64__
namespace outrider::avx2 {
std::int64_t int8_dots(long rounds);
}
namespace outrider::avx512 {
std::int64_t int8_dots(long rounds);
}
#endif

namespace outrider {

double probe_int8_peak(int threads) {
#ifdef __x86_64__
  const Level level = level_chosen();
  if (level == Level::kRef) return 0;
  const auto dots = level == Level::kAvx512 ? avx512::int8_dots : avx2::int8_dots;
  constexpr long kRounds = 2'000'000;
  double best = 0;
  for (int pass = 0; pass < 5; ++pass) {
    std::atomic<std::int64_t> done{0};
    const auto start = std::chrono::steady_clock::now();
    parallel(threads, [&](int, int) { done += dots(kRounds); });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, static_cast<double>(done) * 64 / seconds / 1e9);
  }
  return best;
#else
  return 0;
#endif
}

}  // namespace outrider
