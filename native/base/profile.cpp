#include "base/profile.h"

#include <chrono>
#include <mutex>

namespace outrider {
namespace {

constexpr std::size_t kMostSpans = std::size_t{1} << 21;

// Never destroyed: threads may still record while the process ends.
struct Spans {
  std::mutex mutex;
  std::vector<ProfileSpan> list;
};
Spans& spans() {
  static auto* const all = new Spans;
  return *all;
}

}  // namespace

std::atomic<bool> Profile::enabled_{false};

const char* phase_name(Phase phase) {
  constexpr const char* kNames[kPhases] = {"embedding", "prepare", "qkv",  "attention", "output",
                                           "gate-up",   "down",    "head", "sample",    "wait"};
  return kNames[static_cast<int>(phase)];
}

void Profile::add(const ProfileSpan& span) {
  const std::lock_guard<std::mutex> lock(spans().mutex);
  if (spans().list.size() < kMostSpans) spans().list.push_back(span);
}

std::vector<ProfileSpan> Profile::take() {
  const std::lock_guard<std::mutex> lock(spans().mutex);
  return std::move(spans().list);
}

std::int64_t Profile::now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace outrider
