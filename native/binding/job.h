// Promises for work on an engine thread.
#pragma once

#include <napi.h>

#include <chrono>
#include <memory>
#include <utility>

#include "binding/environment.h"
#include "binding/errors.h"
#include "model/engine.h"

namespace outrider::binding {

// A job whose result settles a promise. Subclasses implement work() for the engine's thread and value() for
// JavaScript's. An aborted job resolves to null; lib/ turns that into the reason of the caller's signal.
class PromiseJob : public Job, public std::enable_shared_from_this<PromiseJob> {
 public:
  explicit PromiseJob(Napi::Env env)
      : Job(Environment::of(env).mailbox.get()), mailbox_(Environment::of(env).mailbox) {}

  bool step(Workspace& workspace) final {
    const auto start = std::chrono::steady_clock::now();
    bool done = true;
    Result result = abort ? Result::error(Status::kAborted, "aborted") : work(workspace, &done);
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (result.ok() && !done) return false;
    release();
    result_ = std::move(result);
    mailbox_->post([self = shared_from_this()](Napi::Env env) { self->settle(env); });
    return true;
  }

  // Starts the job. The returned object is { promise, abort() }. `keep` stays alive until the promise settles.
  static Napi::Object start(Napi::Env env, Engine& engine, const std::shared_ptr<PromiseJob>& job, Napi::Value keep) {
    napi_value promise;
    if (napi_create_promise(env, &job->deferred_, &promise) != napi_ok)
      throw Napi::Error::New(env, "Cannot create a promise");
    napi_create_reference(env, keep, 1, &job->keep_);
    Napi::Object handle = Napi::Object::New(env);
    handle.Set("promise", Napi::Value(env, promise));
    handle.Set("abort", Napi::Function::New(env, [job](const Napi::CallbackInfo&) { job->abort = true; }));
    job->mailbox_->request_begins(env);
    engine.submit(job);
    return handle;
  }

 protected:
  // One bounded piece of work; sets *done to false if there is more.
  virtual Result work(Workspace& workspace, bool* done) = 0;
  // The promise's value, on the JavaScript thread.
  virtual Napi::Value value(Napi::Env env) = 0;
  // Lets go of what the job had claimed, whatever the outcome; on the engine's thread.
  virtual void release() {}

  [[nodiscard]] double seconds() const { return seconds_; }

 private:
  void settle(Napi::Env env) {
    mailbox_->request_ends(env);
    napi_delete_reference(env, keep_);
    if (result_.ok()) {
      napi_resolve_deferred(env, deferred_, value(env));
    } else if (result_.status == Status::kAborted) {
      napi_resolve_deferred(env, deferred_, env.Null());
    } else {
      napi_reject_deferred(env, deferred_, make_error(env, result_.status, result_.message));
    }
  }

  std::shared_ptr<Mailbox> mailbox_;
  napi_deferred deferred_ = nullptr;
  napi_ref keep_ = nullptr;
  Result result_;
  double seconds_ = 0;
};

}  // namespace outrider::binding
