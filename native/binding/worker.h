// A native object whose calls are promises, one at a time, on the loading engine.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <utility>

#include "binding/job.h"

namespace outrider::binding {

template <typename T>
struct Worker {
  std::unique_ptr<T> owned;  // nothing once disposed of
  bool busy = false;

  using Handle = std::shared_ptr<Worker>;
  using Body = std::function<Result(T&, const std::atomic<bool>*)>;
  using Made = std::function<Napi::Value(Napi::Env)>;

  // Of a worker that check_idle() has let through.
  [[nodiscard]] T& object() const { return *owned; }

  void check_idle(Napi::Env env) const {
    if (owned == nullptr) throw_error(env, Status::kDisposed, "Expected a live worker, received one that was disposed");
    if (busy) throw_error(env, Status::kBusy, "Expected one call at a time");
  }

  // { promise: what `made` returns after `body`, abort() }
  static Napi::Value run(Napi::Env env, const Handle& worker, Body body, Made made) {
    worker->check_idle(env);
    return PromiseJob::start(env, Engine::loading(),
                             std::make_shared<Call>(env, worker, std::move(body), std::move(made)));
  }

  // A method of `object` that is given the worker.
  template <typename Method>
  static void method(Napi::Object object, const Handle& worker, const char* name, Method body) {
    const auto call = [worker, body](const Napi::CallbackInfo& info) -> Napi::Value { return body(info, worker); };
    object.Set(name, Napi::Function::New(object.Env(), call, name));
  }

  // The method dispose(): memory that garbage collection knows nothing of goes back at once.
  static void disposable(Napi::Object object, const Handle& worker) {
    method(object, worker, "dispose", [](const Napi::CallbackInfo& info, const Handle& own) {
      if (own->owned == nullptr) return info.Env().Undefined();
      own->check_idle(info.Env());
      own->owned.reset();
      return info.Env().Undefined();
    });
  }

 private:
  class Call final : public PromiseJob {
   public:
    Call(Napi::Env env, Handle worker, Body body, Made made)
        : PromiseJob(env), worker_(std::move(worker)), body_(std::move(body)), made_(std::move(made)) {}

   private:
    void claim() override { worker_->busy = true; }
    Result work(Workspace&, bool*) override { return body_(worker_->object(), &abort); }
    void release(bool) override { worker_->busy = false; }
    Napi::Value value(Napi::Env env) override { return made_(env); }

    Handle worker_;
    Body body_;
    Made made_;
  };
};

}  // namespace outrider::binding
