// One pool of workers for the whole process, shared by every model; a thread may have another of its own.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace outrider {

// Upper bound of `threads` anywhere in outrider.
constexpr int kMaxThreads = 256;

// Runs task(context, index, count) for index 0 .. count-1, index 0 on the calling thread, and returns when all are
// done. Calls from different threads take turns, in the order of asking. `count` is lower than asked for where the
// system refuses more threads. Workers spin for a moment between tasks and then sleep, so an idle
// model costs nothing and a busy one does not pay a wake-up per operation. Tasks must not call parallel_run themselves.
using ParallelTask = void (*)(void* context, int index, int count);
void parallel_run(int count, ParallelTask task, void* context);
// Threads that a parallel_run of `count` will have from now on: `count`, or fewer where the system refuses them.
int reserve_threads(int count);
// From now on what the calling thread runs in parallel runs on a pool of its own, beside that of the process and not in
// turn with it. For threads that never end: so does the pool.
void use_own_pool();

// The same for a callable: parallel(count, [&](int index, int count) { ... }).
template <typename F>
void parallel(int count, const F& body) {
  parallel_run(
      count, [](void* context, int index, int n) { (*static_cast<const F*>(context))(index, n); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// Where all threads of one parallel() meet. Waiters spin for a moment and then sleep.
class Barrier {
 public:
  explicit Barrier(int count) : count_(count) {}
  // Returns once `count` threads have called it; what each wrote before is visible to all after.
  void wait();

 private:
  const int count_;
  std::atomic<int> arrived_{0};
  std::atomic<std::uint32_t> phase_{0};
};

// Spins while `value` is `expected`, for at most so long, and not at all where others stand in line for the core: for
// gaps that are shorter than falling asleep and being woken.
void spin_while(const std::atomic<long>& value, long expected, std::chrono::microseconds most);

// For work in the background that is long and cut into slices, one parallel() each: give_way() after a slice sleeps as
// long as the slice took if anybody else used the pool meanwhile, so that others get at least half of it.
class PoliteCaller {
 public:
  void give_way();

 private:
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
  std::uint64_t seen_ = ~std::uint64_t{0} - 1;  // the first slice knows nothing yet
};

// Runs entry(context) on a detached thread of its own. False, and nothing runs, where the system refuses one.
bool start_thread(void (*entry)(void*), void* context);

// Threads this process may use: the affinity mask, at least 1.
int available_threads();

// The contiguous share of `items` that thread `index` of `count` takes, in multiples of `step`.
struct Share {
  long begin, end;
};
Share share_of(long items, int index, int count, long step = 1);

}  // namespace outrider
