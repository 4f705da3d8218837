// A thread that takes jobs in turn, one step of each: several generations on one or many models share it fairly.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>

#include "model/decoder.h"

namespace outrider {

class Job {
 public:
  explicit Job(const void* owner) : owner(owner) {}
  virtual ~Job() = default;
  // A bounded piece of work. True when the job is finished; it has then delivered its result.
  virtual bool step(Workspace& workspace) = 0;

  const void* const owner;  // whose jobs drain() ends
  std::atomic<bool> abort{false};
};

class Engine {
 public:
  // Steps of models. One for the process: two models that computed at once would only fight for the same cores.
  static Engine& compute();
  // Steps that a caller wants beside those, on threads of their own: for models that have cores to themselves.
  static Engine& beside();
  // Loading, saving and restoring, so that they do not hold up generations, nor a load a save.
  static Engine& loading();
  static Engine& snapshots();

  // False, and the job is not taken, where the system refuses the engine its thread.
  [[nodiscard]] bool submit(std::shared_ptr<Job> job);
  // Takes an aborted job out of the queue, so that it need not wait for its turn to end. False if it is running or
  // done.
  bool cancel(const Job* job);
  // True while a job waits for its turn.
  [[nodiscard]] bool others_wait() const { return waiting_.load(std::memory_order_relaxed) > 0; }
  // Drops the owner's waiting jobs, aborts its running one and returns when none of its steps runs any more.
  void drain(const void* owner);

 private:
  explicit Engine(bool eager, bool own_pool = false) : eager_(eager), own_pool_(own_pool) {}
  void work();

  const bool eager_;     // awaits the next job for a moment before it sleeps
  const bool own_pool_;  // its kernels do not take turns with those of other engines
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::deque<std::shared_ptr<Job>> queue_;
  std::shared_ptr<Job> running_;
  std::atomic<long> waiting_{0};  // jobs in the queue
  bool started_ = false;
};

}  // namespace outrider
