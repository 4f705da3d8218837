#include "model/engine.h"

#include <algorithm>
#include <chrono>

#include "base/thread_pool.h"

namespace outrider {
namespace {

constexpr auto kKeepWorkspace = std::chrono::seconds(2);
// A caller that goes on at once asks again within this time.
constexpr std::chrono::microseconds kAwait{1000};

}  // namespace

// Never destroyed: their threads outlive every static destructor.
Engine& Engine::compute() {
  static Engine* const engine = new Engine(true);
  return *engine;
}

// Not eager: a core that spins here may be one that the other engine's threads want.
Engine& Engine::beside() {
  static Engine* const engine = new Engine(false, true);
  return *engine;
}

Engine& Engine::loading() {
  static Engine* const engine = new Engine(false);
  return *engine;
}

Engine& Engine::snapshots() {
  static Engine* const engine = new Engine(false);
  return *engine;
}

bool Engine::submit(std::shared_ptr<Job> job) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!started_) {
    started_ = start_thread([](void* self) { static_cast<Engine*>(self)->work(); }, this);
    if (!started_) return false;
  }
  queue_.push_back(std::move(job));
  waiting_ = static_cast<long>(queue_.size());
  wake_.notify_one();
  return true;
}

bool Engine::cancel(const Job* job) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found =
      std::find_if(queue_.begin(), queue_.end(), [job](const auto& queued) { return queued.get() == job; });
  if (found == queue_.end()) return false;
  queue_.erase(found);
  waiting_ = static_cast<long>(queue_.size());
  return true;
}

void Engine::drain(const void* owner) {
  std::deque<std::shared_ptr<Job>> dropped;  // destroyed after the lock is released
  std::unique_lock<std::mutex> lock(mutex_);
  for (auto it = queue_.begin(); it != queue_.end();) {
    if ((*it)->owner == owner) {
      dropped.push_back(std::move(*it));
      it = queue_.erase(it);
    } else {
      ++it;
    }
  }
  if (running_ != nullptr && running_->owner == owner) {
    running_->abort = true;
    idle_.wait(lock, [&] { return running_ == nullptr || running_->owner != owner; });
    // An unfinished job put itself back before the wait ended.
    std::erase_if(queue_, [&](const auto& job) { return job->owner == owner; });
  }
  waiting_ = static_cast<long>(queue_.size());
}

void Engine::work() {
  if (own_pool_) use_own_pool();
  Workspace workspace;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    if (queue_.empty() && !wake_.wait_for(lock, kKeepWorkspace, [&] { return !queue_.empty(); })) {
      workspace.clear();
      wake_.wait(lock, [&] { return !queue_.empty(); });
    }
    running_ = std::move(queue_.front());
    queue_.pop_front();
    waiting_ = static_cast<long>(queue_.size());
    lock.unlock();
    const bool done = running_->step(workspace);
    lock.lock();
    std::shared_ptr<Job> last;
    if (done) {
      last = std::move(running_);
    } else {
      queue_.push_back(std::move(running_));  // behind the others: round robin
    }
    running_ = nullptr;
    idle_.notify_all();
    if (last != nullptr) {
      lock.unlock();
      last.reset();
      if (eager_) spin_while(waiting_, 0, kAwait);
      lock.lock();
    }
  }
}

}  // namespace outrider
