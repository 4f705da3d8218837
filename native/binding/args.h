// Arguments of the op entry points: memory is checked here, meaning in lib/ops. Whatever JavaScript passes, no kernel
// reads or writes outside the arrays it was given.
#pragma once

#include <napi.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "binding/read.h"
#include "cpu/level.h"

namespace outrider::binding {

// More elements than any array holds; two such numbers are multiplied as doubles before they are as longs.
constexpr double kMaxElements = 9007199254740991.0;

// An integer in [least, most].
inline long take_integer(const Napi::Value& value, const char* name, double least = 0, double most = kMaxElements) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!value.IsNumber() || !(number >= least && number <= most) || number != std::floor(number)) {
    wrong(value.Env(), "an integer in range", name);
  }
  return static_cast<long>(number);
}

inline float take_float(const Napi::Value& value, const char* name) {
  if (!value.IsNumber()) wrong(value.Env(), "a number", name);
  return static_cast<float>(value.As<Napi::Number>().DoubleValue());
}

// a * b, an error if that is more than any array holds.
inline long take_product(Napi::Env env, long a, long b, const char* name) {
  if (static_cast<double>(a) * static_cast<double>(b) > kMaxElements) wrong(env, "fewer elements", name);
  return a * b;
}

// Elements from the first to the last of `rows` rows of `cols`, `stride` apart.
inline long strided_length(Napi::Env env, long rows, long cols, long stride, const char* name) {
  if (stride < cols && rows > 1) wrong(env, "rows that do not overlap", name);
  return rows == 0 ? 0 : take_product(env, rows - 1, stride, name) + cols;
}

template <typename T>
constexpr napi_typedarray_type kArrayType = napi_float32_array;
template <>
inline constexpr napi_typedarray_type kArrayType<std::int32_t> = napi_int32_array;
template <>
inline constexpr napi_typedarray_type kArrayType<std::uint16_t> = napi_uint16_array;
template <>
inline constexpr napi_typedarray_type kArrayType<std::uint8_t> = napi_uint8_array;

// The memory of a typed array of T with `count` elements or more. A detached array has none.
template <typename T>
T* take_array(const Napi::Value& value, long count, const char* name) {
  const Napi::Env env = value.Env();
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != kArrayType<T>) {
    throw_error(env, Status::kShape, std::string("Expected a typed array of the documented type for ") + name);
  }
  auto array = value.As<Napi::TypedArrayOf<T>>();
  if (array.ElementLength() < static_cast<std::size_t>(count)) {
    throw_error(env, Status::kShape,
                "Expected " + std::to_string(count) + " elements for " + name + ", received " +
                    std::to_string(array.ElementLength()));
  }
  T* data = array.Data();
  if (reinterpret_cast<std::uintptr_t>(data) % alignof(T) != 0) {
    throw_error(env, Status::kShape, std::string("Expected aligned memory for ") + name);
  }
  return data;
}

// The same, or null where the value is absent.
template <typename T>
T* take_optional(const Napi::Value& value, long count, const char* name) {
  return absent(value) ? nullptr : take_array<T>(value, count, name);
}

// Elements of one of the three float types. Float16Array has no tag in Node-API 8: lib/ passes its bits.
inline void* take_floats(const Napi::Value& value, DType type, long count, const char* name) {
  if (type == DType::kF32) return take_array<float>(value, count, name);
  return take_array<std::uint16_t>(value, count, name);
}

// A copy of the first `count` elements, for whatever becomes an index: memory shared with a worker may change between
// the check and the use.
template <typename T>
std::vector<T> copy_array(const Napi::Value& value, long count, const char* name) {
  const T* const data = take_array<T>(value, count, name);
  return std::vector<T>(data, data + count);
}

// The index of a string in a list of names.
template <std::size_t N>
int take_choice(const Napi::Value& value, const char* const (&names)[N], const char* name) {
  if (value.IsString()) {
    const std::string chosen = value.As<Napi::String>().Utf8Value();
    for (std::size_t i = 0; i < N; ++i) {
      if (chosen == names[i]) return static_cast<int>(i);
    }
  }
  wrong(value.Env(), "one of the documented names", name);
}

}  // namespace outrider::binding
