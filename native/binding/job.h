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
    finish(std::move(result));
    return true;
  }

  // Starts the job, which owns all memory it works on: what JavaScript does with its arrays afterwards is its own
  // affair. The returned object is { promise, abort() }.
  static Napi::Object start(Napi::Env env, Engine& engine, const std::shared_ptr<PromiseJob>& job) {
    napi_value promise;
    if (napi_create_promise(env, &job->deferred_, &promise) != napi_ok)
      throw Napi::Error::New(env, "Cannot create a promise");
    Napi::Object handle = Napi::Object::New(env);
    handle.Set("promise", Napi::Value(env, promise));
    handle.Set("abort", Napi::Function::New(env, [job, &engine](const Napi::CallbackInfo&) {
                 job->abort = true;
                 if (engine.cancel(job.get())) job->finish(Result::error(Status::kAborted, "aborted"));
               }));
    job->claim();
    if (!engine.submit(job)) {
      job->release(false);
      throw_error(env, Status::kIo, "Cannot start a thread for the engine: the system refuses more threads");
    }
    job->mailbox_->request_begins(env);
    return handle;
  }

 protected:
  // One bounded piece of work; sets *done to false if there is more.
  virtual Result work(Workspace& workspace, bool* done) = 0;
  // The promise's value, on the JavaScript thread.
  virtual Napi::Value value(Napi::Env env) = 0;
  // Takes what no other job may have meanwhile; on the JavaScript thread, before the first step.
  virtual void claim() {}
  // Lets go of it. `ok` false: the job failed or was aborted, perhaps before its first step, and what it had changed is
  // to be put back. On the engine's thread, or on JavaScript's for a job that is taken out of the queue.
  virtual void release([[maybe_unused]] bool ok) {}

  [[nodiscard]] double seconds() const { return seconds_; }

 private:
  void finish(Result result) {
    release(result.ok());
    result_ = std::move(result);
    mailbox_->post([self = shared_from_this()](Napi::Env env) { self->settle(env); });
  }

  void settle(Napi::Env env) {
    mailbox_->request_ends(env);
    if (result_.ok()) {
      try {
        napi_resolve_deferred(env, deferred_, value(env));
      } catch (const Napi::Error& error) {  // no memory for the arrays: the promise still settles
        napi_reject_deferred(env, deferred_, error.Value());
      }
    } else if (result_.status == Status::kAborted) {
      napi_resolve_deferred(env, deferred_, env.Null());
    } else {
      napi_reject_deferred(env, deferred_, make_error(env, result_.status, result_.message));
    }
  }

  std::shared_ptr<Mailbox> mailbox_;
  napi_deferred deferred_ = nullptr;
  Result result_;
  double seconds_ = 0;
};

}  // namespace outrider::binding
