// Plain data out of JavaScript values. lib/ has checked what they mean; here a wrong type is an error and never a
// crash.
#pragma once

#include <napi.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "binding/errors.h"
#include "cpu/level.h"

namespace outrider::binding {

[[noreturn]] inline void wrong(Napi::Env env, const char* what, const char* name) {
  throw_error(env, Status::kArgument, std::string("Expected ") + what + " for " + name);
}

inline bool absent(const Napi::Value& value) { return value.IsEmpty() || value.IsUndefined() || value.IsNull(); }

inline Napi::Object read_object(const Napi::Value& value, const char* name) {
  if (value.IsEmpty() || !value.IsObject()) wrong(value.Env(), "an object", name);
  return value.As<Napi::Object>();
}

inline double read_number(const Napi::Object& from, const char* name) {
  const Napi::Value value = from.Get(name);
  if (!value.IsNumber()) wrong(from.Env(), "a number", name);
  return value.As<Napi::Number>().DoubleValue();
}

inline double read_number(const Napi::Object& from, const char* name, double fallback) {
  return absent(from.Get(name)) ? fallback : read_number(from, name);
}

// A safe integer within what the native code can hold.
inline long read_integer(const Napi::Object& from, const char* name) {
  const double value = read_number(from, name);
  if (!(std::fabs(value) <= 9007199254740991.0) || value != std::floor(value)) wrong(from.Env(), "an integer", name);
  return static_cast<long>(value);
}

inline long read_integer(const Napi::Object& from, const char* name, long fallback) {
  return absent(from.Get(name)) ? fallback : read_integer(from, name);
}

inline std::string read_string(const Napi::Object& from, const char* name) {
  const Napi::Value value = from.Get(name);
  if (!value.IsString()) wrong(from.Env(), "a string", name);
  return value.As<Napi::String>().Utf8Value();
}

// A level by name that this machine can run; the chosen one if absent.
inline Level read_level(const Napi::Value& value) {
  if (absent(value)) return level_chosen();
  Level level = Level::kRef;
  if (!value.IsString() || !level_named(value.As<Napi::String>().Utf8Value().c_str(), &level) ||
      !level_available(level)) {
    wrong(value.Env(), "a CPU level this machine can run", "level");
  }
  return level;
}

// One of the three float types, by name.
inline DType read_float_type(const Napi::Value& value, const char* name) {
  const std::string type = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (type == "f32") return DType::kF32;
  if (type == "f16") return DType::kF16;
  if (type == "bf16") return DType::kBF16;
  wrong(value.Env(), "f32, f16 or bf16", name);
}

inline bool read_flag(const Napi::Object& from, const char* name) {
  const Napi::Value value = from.Get(name);
  return !absent(value) && value.ToBoolean().Value();
}

inline Napi::Array read_array(const Napi::Object& from, const char* name) {
  const Napi::Value value = from.Get(name);
  if (!value.IsArray()) wrong(from.Env(), "an array", name);
  return value.As<Napi::Array>();
}

// A copy of a typed array of exactly this element type; empty if the member is absent.
template <typename T>
std::vector<T> read_typed(const Napi::Object& from, const char* name, napi_typedarray_type type) {
  const Napi::Value value = from.Get(name);
  if (absent(value)) return {};
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    wrong(from.Env(), "a typed array of the documented type", name);
  }
  const auto array = value.As<Napi::TypedArrayOf<T>>();
  return std::vector<T>(array.Data(), array.Data() + array.ElementLength());
}

}  // namespace outrider::binding
