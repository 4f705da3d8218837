// What one JavaScript environment (the main thread or a worker) owns in the addon.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>

namespace outrider::binding {

// Carries results from engine threads to the environment's own thread, and stops doing so when the environment ends.
class Mailbox {
 public:
  // Runs on the environment's thread; env is never null.
  using Letter = std::function<void(Napi::Env)>;

  // From any thread. Dropped without a trace if the environment has ended.
  void post(Letter letter);
  // From the environment's thread: an open request keeps the process alive.
  void request_begins(Napi::Env env);
  void request_ends(Napi::Env env);

 private:
  friend class Environment;
  std::mutex mutex_;
  napi_threadsafe_function function_ = nullptr;
  long open_ = 0;
};

class Environment {
 public:
  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }
  static void install(Napi::Env env);

  std::shared_ptr<Mailbox> mailbox = std::make_shared<Mailbox>();
  Napi::FunctionReference error_class;
  Napi::FunctionReference model_class, sequence_class;

 private:
  static void cleanup(void* self);
};

}  // namespace outrider::binding
