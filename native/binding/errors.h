// Status to JavaScript error.
#pragma once

#include <napi.h>

#include <string>

#include "base/status.h"

namespace outrider::binding {

const char* error_code(Status status);
// An OutriderError, or before setErrorClass a plain Error with `code`.
Napi::Value make_error(Napi::Env env, Status status, const std::string& message);
[[noreturn]] void throw_error(Napi::Env env, Status status, const std::string& message);

inline void throw_if(Napi::Env env, const Result& result) {
  if (!result.ok()) throw_error(env, result.status, result.message);
}

}  // namespace outrider::binding
