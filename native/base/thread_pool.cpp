#include "base/thread_pool.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

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
constexpr int kFewestSpins = 50;

// How long this thread spins before it sleeps. Alone on its core, the others arrive within microseconds and a wake-up
// costs more; on a crowded machine one of them has lost its core, and spinning only keeps it from getting ours.
thread_local int patience = kSpins;

// Learns from the kernel's accounts how long this thread stood in line for a core: more than a sixth of the time is a
// crowd. Less is the thread of JavaScript, which wants a core between two steps; two processes wait for a third of it.
// Asked at most every two milliseconds; without such accounts patience stays as it is.
void look_around() {
  using Clock = std::chrono::steady_clock;
  struct Accounts {
    int file = ::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    ~Accounts() {
      if (file >= 0) ::close(file);
    }
  };
  static thread_local const Accounts accounts;
  static thread_local Clock::time_point since = Clock::now();
  static thread_local long long waited = -1;
  if (accounts.file < 0) return;
  const auto now = Clock::now();
  const auto passed = std::chrono::duration_cast<std::chrono::nanoseconds>(now - since).count();
  if (waited >= 0 && passed < 2'000'000) return;
  char text[96];
  const ssize_t length = ::pread(accounts.file, text, sizeof(text) - 1, 0);
  if (length <= 0) return;
  text[length] = 0;
  char* end = nullptr;
  std::strtoll(text, &end, 10);  // time on the core
  const long long waiting = std::strtoll(end, nullptr, 10);
  if (waited >= 0) patience = (waiting - waited) * 6 > passed ? kFewestSpins : kSpins;
  waited = waiting;
  since = now;
}

// A lock that is taken in the order of asking. std::mutex lets the thread that released it take it again before a
// waiter has woken up, and a loader that packs slice after slice would shut a generation out.
class Turns {
 public:
  void lock() {
    const std::uint32_t mine = next_.fetch_add(1, std::memory_order_relaxed);
    for (int spin = 0;; ++spin) {
      const std::uint32_t now = serving_.load(std::memory_order_acquire);
      if (now == mine) return;
      if (spin < kSpins) {
        relax();
      } else {
        serving_.wait(now, std::memory_order_acquire);
      }
    }
  }
  void unlock() {
    serving_.fetch_add(1, std::memory_order_seq_cst);  // as in Barrier::wait()
    serving_.notify_all();
  }

 private:
  std::atomic<std::uint32_t> next_{0}, serving_{0};
};

// A worker has one slot; `ticket` counts the tasks given to it. Waiting on one's own slot keeps wake-ups apart.
class Pool;
struct alignas(64) Worker {
  Pool* pool;
  int index;
  std::atomic<std::uint32_t> ticket{0};
};

class Pool {
 public:
  void run(int count, ParallelTask task, void* context) {
    turns_.lock();
    runs_.fetch_add(1, std::memory_order_relaxed);
    // No thread, no worker: the task then runs on those there are, which changes no result.
    count = std::min(count, kMaxThreads);
    while (static_cast<int>(workers_.size()) < count - 1 && add_worker()) {
    }
    count = std::min(count, static_cast<int>(workers_.size()) + 1);
    task_ = task;
    context_ = context;
    count_ = count;
    pending_.store(count - 1, std::memory_order_release);
    for (int i = 0; i < count - 1; ++i) {
      workers_[i]->ticket.fetch_add(1, std::memory_order_seq_cst);  // as in Barrier::wait()
      workers_[i]->ticket.notify_one();
    }
    look_around();
    task(context, 0, count);
    for (int spin = 0; pending_.load(std::memory_order_acquire) != 0; ++spin) {
      if (spin < kSpins) {
        relax();
      } else {
        std::this_thread::yield();  // a worker lost its core: give it ours rather than burn it
      }
    }
    turns_.unlock();
  }

  int reserve(int count) {
    count = std::min(count, kMaxThreads);
    if (count <= threads_.load(std::memory_order_acquire)) return count;
    turns_.lock();
    while (static_cast<int>(workers_.size()) < count - 1 && add_worker()) {
    }
    turns_.unlock();
    return std::min(count, threads_.load(std::memory_order_acquire));
  }

  [[nodiscard]] std::uint64_t runs() const { return runs_.load(std::memory_order_relaxed); }

 private:
  bool add_worker() {
    auto worker = std::make_unique<Worker>();
    worker->pool = this;
    worker->index = static_cast<int>(workers_.size()) + 1;
    const auto entry = [](void* self) {
      auto* const worker = static_cast<Worker*>(self);
      worker->pool->work(worker);
    };
    if (!start_thread(entry, worker.get())) return false;
    workers_.push_back(std::move(worker));
    threads_.store(static_cast<int>(workers_.size()) + 1, std::memory_order_release);
    return true;
  }

  [[noreturn]] void work(Worker* self) {
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
      look_around();
      task_(context_, self->index, count_);
      pending_.fetch_sub(1, std::memory_order_release);
    }
  }

  Turns turns_;
  std::atomic<std::uint64_t> runs_{0};
  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<int> threads_{1};  // workers and the caller
  std::atomic<int> pending_{0};
  ParallelTask task_ = nullptr;
  void* context_ = nullptr;
  int count_ = 0;
};

thread_local Pool* own_pool = nullptr;

// Never destroyed: workers may still be asleep when the process runs its static destructors.
Pool& pool() {
  static Pool* const instance = new Pool;
  return own_pool != nullptr ? *own_pool : *instance;
}

}  // namespace

void parallel_run(int count, ParallelTask task, void* context) {
  if (count <= 1) {
    task(context, 0, 1);
  } else {
    pool().run(count, task, context);
  }
}

void Barrier::wait() {
  if (count_ <= 1) return;
  const std::uint32_t phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count_) {
    arrived_.store(0, std::memory_order_relaxed);
    // Sequentially consistent: notify_all() looks for sleepers first, and a processor that looks before others see the
    // new phase lets a thread fall asleep that nobody will ever wake.
    phase_.store(phase + 1, std::memory_order_seq_cst);
    phase_.notify_all();
    return;
  }
  const int most = patience;
  for (int spin = 0; phase_.load(std::memory_order_acquire) == phase; ++spin) {
    if (spin < most) {
      relax();
    } else {
      phase_.wait(phase, std::memory_order_acquire);
    }
  }
}

void spin_while(const std::atomic<long>& value, long expected, std::chrono::microseconds most) {
  look_around();
  static const bool alone = available_threads() == 1;  // the only core is wanted by whoever changes the value
  if (alone || patience < kSpins) return;
  const auto end = std::chrono::steady_clock::now() + most;
  for (int spin = 1; value.load(std::memory_order_acquire) == expected; ++spin) {
    relax();
    if (spin % 64 == 0 && std::chrono::steady_clock::now() > end) return;
  }
}

int reserve_threads(int count) { return count <= 1 ? 1 : pool().reserve(count); }

void use_own_pool() {
  if (own_pool == nullptr) own_pool = new Pool;
}

void PoliteCaller::give_way() {
  const auto now = std::chrono::steady_clock::now();
  // One run is our own; more mean that somebody computed between our slices, or waited for this one to end.
  if (pool().runs() > seen_ + 1) std::this_thread::sleep_for(now - since_);
  since_ = std::chrono::steady_clock::now();
  seen_ = pool().runs();
}

bool start_thread(void (*entry)(void*), void* context) {
  struct Start {
    void (*entry)(void*);
    void* context;
  };
  auto* const start = new Start{entry, context};
  pthread_t thread;
  const auto body = [](void* data) -> void* {
    const Start copy = *static_cast<Start*>(data);
    delete static_cast<Start*>(data);
    copy.entry(copy.context);
    return nullptr;
  };
  if (pthread_create(&thread, nullptr, body, start) != 0) {
    delete start;
    return false;
  }
  pthread_detach(thread);
  return true;
}

int available_threads() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

Share share_of(long items, int index, int count, long step) {
  const long steps = (items + step - 1) / step;
  const long begin = steps * index / count * step;
  const long end = steps * (index + 1) / count * step;
  return {std::min(begin, items), std::min(end, items)};
}

}  // namespace outrider
