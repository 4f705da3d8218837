#include "binding/environment.h"

#include "binding/errors.h"
#include "model/engine.h"

namespace outrider::binding {
namespace {

void deliver(napi_env env, napi_value, void*, void* data) {
  const std::unique_ptr<Mailbox::Letter> letter(static_cast<Mailbox::Letter*>(data));
  if (env == nullptr) return;  // the environment is going away
  const Napi::Env napi(env);
  const Napi::HandleScope scope(napi);
  try {
    (*letter)(napi);
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  }
}

}  // namespace

void Mailbox::post(Letter letter) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (function_ == nullptr) return;
  auto own = std::make_unique<Letter>(std::move(letter));
  if (napi_call_threadsafe_function(function_, own.get(), napi_tsfn_nonblocking) == napi_ok) own.release();
}

void Mailbox::request_begins(Napi::Env env) {
  if (open_++ == 0 && function_ != nullptr) napi_ref_threadsafe_function(env, function_);
}

void Mailbox::request_ends(Napi::Env env) {
  if (--open_ == 0 && function_ != nullptr) napi_unref_threadsafe_function(env, function_);
}

void Environment::install(Napi::Env env) {
  auto* self = new Environment;
  env.SetInstanceData(self);
  napi_threadsafe_function function = nullptr;
  const napi_status made = napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "outrider"), 0,
                                                           1, nullptr, nullptr, nullptr, deliver, &function);
  if (made != napi_ok) throw Napi::Error::New(env, "Cannot create outrider's mailbox");
  napi_unref_threadsafe_function(env, function);
  self->mailbox->function_ = function;
  // The hook holds the mailbox, not the instance data, whose own end may come first.
  napi_add_env_cleanup_hook(env, cleanup, new std::shared_ptr<Mailbox>(self->mailbox));
}

// Worker terminated or process ending: no engine step of this environment may run on, and no letter may be posted.
void Environment::cleanup(void* data) {
  const std::unique_ptr<std::shared_ptr<Mailbox>> mailbox(static_cast<std::shared_ptr<Mailbox>*>(data));
  napi_threadsafe_function function = nullptr;
  {
    const std::lock_guard<std::mutex> lock((*mailbox)->mutex_);
    std::swap(function, (*mailbox)->function_);
  }
  Engine::compute().drain(mailbox->get());
  Engine::beside().drain(mailbox->get());
  Engine::loading().drain(mailbox->get());
  Engine::snapshots().drain(mailbox->get());
  if (function != nullptr) napi_release_threadsafe_function(function, napi_tsfn_abort);
}

const char* error_code(Status status) {
  switch (status) {
    case Status::kOk:
      break;
    case Status::kArgument:
      return "OUTRIDER_ARGUMENT";
    case Status::kShape:
      return "OUTRIDER_SHAPE";
    case Status::kFormat:
      return "OUTRIDER_FORMAT";
    case Status::kUnsupported:
      return "OUTRIDER_UNSUPPORTED";
    case Status::kIo:
      return "OUTRIDER_IO";
    case Status::kMemory:
      return "OUTRIDER_MEMORY";
    case Status::kContext:
      return "OUTRIDER_CONTEXT";
    case Status::kSnapshot:
      return "OUTRIDER_SNAPSHOT";
    case Status::kBusy:
      return "OUTRIDER_BUSY";
    case Status::kDisposed:
      return "OUTRIDER_DISPOSED";
    case Status::kAborted:
      break;  // never an error: lib/ rejects with the signal's reason
    case Status::kInternal:
      break;
  }
  return "OUTRIDER_INTERNAL";
}

Napi::Value make_error(Napi::Env env, Status status, const std::string& message) {
  const Napi::FunctionReference& error_class = Environment::of(env).error_class;
  if (!error_class.IsEmpty())
    return error_class.New({Napi::String::New(env, error_code(status)), Napi::String::New(env, message)});
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, error_code(status)));
  return error.Value();
}

void throw_error(Napi::Env env, Status status, const std::string& message) {
  throw Napi::Error(env, make_error(env, status, message));
}

}  // namespace outrider::binding
