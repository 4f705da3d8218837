#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif
#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace outrider {
namespace {

void relax() {
#ifdef __x86_64__
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// About 20 to 60 microseconds of spinning: longer than the gap between two operations of a step, short enough that an
// oversubscribed machine soon gets its core back.
constexpr int kSpins = 2000;

// A worker has one slot; `ticket` counts the tasks given to it. Waiting on one's own slot keeps wake-ups apart.
struct alignas(64) Worker {
  std::atomic<std::uint32_t> ticket{0};
};

class Pool {
 public:
  void run(int count, ParallelTask task, void* context) {
    const std::lock_guard<std::mutex> turn(mutex_);
    count = std::min(count, kMaxThreads);
    while (static_cast<int>(workers_.size()) < count - 1) {
      const int index = static_cast<int>(workers_.size()) + 1;
      workers_.push_back(std::make_unique<Worker>());
      std::thread(&Pool::work, this, workers_.back().get(), index).detach();
    }
    task_ = task;
    context_ = context;
    count_ = count;
    pending_.store(count - 1, std::memory_order_release);
    for (int i = 0; i < count - 1; ++i) {
      workers_[i]->ticket.fetch_add(1, std::memory_order_release);
      workers_[i]->ticket.notify_one();
    }
    task(context, 0, count);
    for (int spin = 0; pending_.load(std::memory_order_acquire) != 0; ++spin) {
      if (spin < kSpins) {
        relax();
      } else {
        std::this_thread::yield();  // a worker lost its core: give it ours rather than burn it
      }
    }
  }

 private:
  void work(Worker* self, int index) {
    std::uint32_t seen = 0;
    for (;;) {
      for (int spin = 0; self->ticket.load(std::memory_order_acquire) == seen; ++spin) {
        if (spin < kSpins) {
          relax();
        } else {
          self->ticket.wait(seen, std::memory_order_acquire);
        }
      }
      ++seen;
      task_(context_, index, count_);
      pending_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<int> pending_{0};
  ParallelTask task_ = nullptr;
  void* context_ = nullptr;
  int count_ = 0;
};

// Never destroyed: workers may still be asleep when the process runs its static destructors.
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

}  // namespace

void parallel_run(int count, ParallelTask task, void* context) {
  if (count <= 1) {
    task(context, 0, 1);
  } else {
    pool().run(count, task, context);
  }
}

int available_threads() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

Share share_of(long items, int index, int count, long step) {
  const long steps = (items + step - 1) / step;
  const long begin = steps * index / count * step;
  const long end = steps * (index + 1) / count * step;
  return {std::min(begin, items), std::min(end, items)};
}

}  // namespace outrider
