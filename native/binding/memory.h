// Native memory that becomes a typed array, without a copy where that pays.
#pragma once

#include <napi.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "base/buffer.h"

namespace outrider::binding {

// Below this a copy costs less than a finalizer.
constexpr std::size_t kCopyBelow = 64 * 1024;

// A typed array over the first `count` elements of `memory`, which it owns from now on.
template <typename T>
Napi::TypedArrayOf<T> array_of(Napi::Env env, Buffer memory, std::size_t count) {
  const std::size_t bytes = count * sizeof(T);
  if (bytes >= kCopyBelow) {
    auto own = std::make_unique<Buffer>(std::move(memory));
    auto buffer = Napi::ArrayBuffer::New(
        env, own->data(), bytes, [](Napi::Env, void*, Buffer* hint) { delete hint; }, own.get());
    own.release();
    return Napi::TypedArrayOf<T>::New(env, count, buffer, 0);
  }
  auto array = Napi::TypedArrayOf<T>::New(env, count);
  if (count > 0) std::memcpy(array.Data(), memory.data(), bytes);
  return array;
}

template <typename T>
Napi::TypedArrayOf<T> array_of(Napi::Env env, Column<T>& column) {
  const std::size_t count = column.size();
  return array_of<T>(env, column.take(), count);
}

}  // namespace outrider::binding
