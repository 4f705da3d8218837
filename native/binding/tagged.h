// Objects of ours told apart from those of other addons and from each other: an External or a wrapped object is used
// only if it carries our tag, whatever its prototype says.
#pragma once

#include <napi.h>

namespace outrider::binding {

// The first half says outrider, the second what it is.
constexpr napi_type_tag tag(std::uint64_t what) { return {0x6f75747269646572u, what}; }
inline constexpr napi_type_tag kPackedTag = tag(1), kSnapshotBytesTag = tag(2), kModelTag = tag(3),
                               kSequenceTag = tag(4), kSamplerTag = tag(5), kStoppingHeadTag = tag(6);

inline bool tagged(const Napi::Value& value, const napi_type_tag& tag) {
  bool same = false;
  return (value.IsExternal() || value.IsObject()) &&
         napi_check_object_type_tag(value.Env(), value, &tag, &same) == napi_ok && same;
}

// The handle owns `data`.
template <typename T>
Napi::External<T> tagged_handle(Napi::Env env, std::unique_ptr<T> data, const napi_type_tag& tag) {
  auto handle = Napi::External<T>::New(env, data.get(), [](Napi::Env, T* owned) { delete owned; });
  data.release();
  napi_type_tag_object(env, handle, &tag);
  return handle;
}

// A handle for the time of one call: the constructor that wraps `data` in an object.
template <typename T>
Napi::External<T> tagged_pointer(Napi::Env env, T* data, const napi_type_tag& tag) {
  auto handle = Napi::External<T>::New(env, data);
  napi_type_tag_object(env, handle, &tag);
  return handle;
}

// What a handle holds, or null if it is none of this kind.
template <typename T>
T* held(const Napi::Value& value, const napi_type_tag& tag) {
  return value.IsExternal() && tagged(value, tag) ? value.As<Napi::External<T>>().Data() : nullptr;
}

}  // namespace outrider::binding
