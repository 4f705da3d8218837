#include "cpu/bandwidth.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>

#include "base/buffer.h"
#include "base/thread_pool.h"
#include "cpu/level.h"

namespace outrider {
namespace {

constexpr std::size_t kBytes = std::size_t{512} << 20;
constexpr int kPasses = 6;

// One cache line; the compiler splits it into registers of the target's width.
using Line __attribute__((vector_size(64))) = std::uint64_t;

// Four streams of independent sums, as the kernels read four panels: one stream does not keep enough lines in flight.
__attribute__((always_inline)) inline std::uint64_t read_streams(const Line* lines, long count) {
  Line sums[4] = {};
  const long quarter = count / 4;
  for (long i = 0; i < quarter; ++i) {
    for (int s = 0; s < 4; ++s) {
      const Line* at = lines + s * quarter + i;
      __builtin_prefetch(at + 12);
      sums[s] += *at;
    }
  }
  const Line total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  std::uint64_t sum = 0;
  for (int j = 0; j < 8; ++j) sum += total[j];
  return sum;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) std::uint64_t read_avx512(const Line* lines, long count) {
  return read_streams(lines, count);
}
__attribute__((target("avx2"))) std::uint64_t read_avx2(const Line* lines, long count) {
  return read_streams(lines, count);
}
#endif
std::uint64_t read_plain(const Line* lines, long count) { return read_streams(lines, count); }

using Reader = std::uint64_t (*)(const Line*, long);

Reader reader() {
#if defined(__x86_64__)
  if (level_available(Level::kAvx512f)) return read_avx512;
  if (level_available(Level::kAvx2)) return read_avx2;
#endif
  return read_plain;
}

}  // namespace

double probe_bandwidth(int threads) {
  const Buffer block(kBytes);
  if (!block) return 0;
  const auto lines = static_cast<long>(kBytes / sizeof(Line));
  const Reader read = reader();
  std::atomic<std::uint64_t> sink{0};
  parallel(threads, [&](int index, int count) {  // touch: pages must exist before they are timed
    const Share share = share_of(lines, index, count);
    std::memset(block.as<Line>() + share.begin, 1, static_cast<std::size_t>(share.end - share.begin) * sizeof(Line));
  });
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    parallel(threads, [&](int index, int count) {
      const Share share = share_of(lines, index, count);
      sink += read(block.as<Line>() + share.begin, share.end - share.begin);
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const double rate = static_cast<double>(kBytes) / seconds / 1e9;
    if (rate > best && sink != 0) best = rate;
  }
  return best;
}

}  // namespace outrider
