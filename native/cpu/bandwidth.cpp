#include "cpu/bandwidth.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>

#include "base/buffer.h"
#include "base/thread_pool.h"

namespace outrider {
namespace {

constexpr std::size_t kBytes = std::size_t{512} << 20;
constexpr int kPasses = 6;

// Four streams of independent sums, as the kernels read four panels.
std::uint64_t read_all(const std::uint64_t* words, long count) {
  std::uint64_t sums[32] = {};
  const long quarter = count / 4;
  for (long i = 0; i + 8 <= quarter; i += 8) {
    for (int s = 0; s < 4; ++s) {
      const std::uint64_t* at = words + s * quarter + i;
      __builtin_prefetch(at + 128);
      for (int j = 0; j < 8; ++j) sums[s * 8 + j] += at[j];
    }
  }
  std::uint64_t total = 0;
  for (std::uint64_t sum : sums) total += sum;
  return total;
}

}  // namespace

double probe_bandwidth(int threads) {
  const Buffer block(kBytes);
  if (!block) return 0;
  const auto words = static_cast<long>(kBytes / sizeof(std::uint64_t));
  std::atomic<std::uint64_t> sink{0};
  parallel(threads, [&](int index, int count) {  // touch: pages must exist before they are timed
    const Share share = share_of(words, index, count, 64);
    std::memset(block.as<std::uint64_t>() + share.begin, 1, static_cast<std::size_t>(share.end - share.begin) * 8);
  });
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    parallel(threads, [&](int index, int count) {
      const Share share = share_of(words, index, count, 64);
      sink += read_all(block.as<std::uint64_t>() + share.begin, share.end - share.begin);
    });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const double rate = static_cast<double>(kBytes) / seconds / 1e9;
    if (rate > best && sink != 0) best = rate;
  }
  return best;
}

}  // namespace outrider
