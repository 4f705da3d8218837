// The class of heads that end drafts.
#include "model/stopping_head.h"

#include "binding/args.h"
#include "binding/objects.h"
#include "binding/tagged.h"

namespace outrider::binding {
namespace {

StoppingHead::Layer read_layer(const Napi::Value& value, const char* name) {
  const Napi::Object from = read_object(value, name);
  return {read_typed<float>(from, "weight", napi_float32_array), read_typed<float>(from, "bias", napi_float32_array)};
}

}  // namespace

// ({ hidden, blocks: { weight, bias }[], classes: { weight, bias } })
StoppingHeadObject::StoppingHeadObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<StoppingHeadObject>(info) {
  const Napi::Env env = info.Env();
  const Napi::Object from = read_object(info[0], "options");
  const Napi::Array array = read_array(from, "blocks");
  if (array.Length() > kMostHeadBlocks) wrong(env, "at most 16 blocks", "blocks");
  std::vector<StoppingHead::Layer> blocks;
  for (std::uint32_t i = 0; i < array.Length(); ++i) blocks.push_back(read_layer(array.Get(i), "blocks"));
  const Result made =
      StoppingHead::make(read_integer(from, "hidden"), blocks, read_layer(from.Get("classes"), "classes"), &head_);
  if (!made.ok()) throw_error(env, made.status, made.message);
  info.This().As<Napi::Object>().TypeTag(&kStoppingHeadTag);
}

const std::shared_ptr<const StoppingHead>& StoppingHeadObject::from(const Napi::Value& value) {
  if (!value.IsObject() || !tagged(value, kStoppingHeadTag)) wrong(value.Env(), "a StoppingHead", "stop");
  return Unwrap(value.As<Napi::Object>())->head_;
}

// (states: Float32Array of rows of the hidden size, level?) => Float32Array, one number for each row
Napi::Value StoppingHeadObject::acceptance(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsTypedArray()) wrong(env, "a Float32Array", "states");
  const auto length = static_cast<long>(info[0].As<Napi::TypedArray>().ElementLength()), hidden = head_->hidden();
  if (length % hidden != 0) wrong(env, "rows of the hidden size", "states");
  const float* const states = take_array<float>(info[0], length, "states");
  const Level level = read_level(info[1]);
  const Buffer scratch(head_->scratch_bytes());
  if (!scratch) throw_error(env, Status::kMemory, "Cannot allocate scratch memory for a stopping head");
  auto out = Napi::Float32Array::New(env, static_cast<std::size_t>(length / hidden));
  for (std::size_t i = 0; i < out.ElementLength(); ++i) {
    out[i] = head_->acceptance(states + static_cast<long>(i) * hidden, scratch.data(), level);
  }
  return out;
}

void StoppingHeadObject::define(Napi::Env env, Napi::Object exports) {
  exports.Set("NativeStoppingHead",
              DefineClass(env, "NativeStoppingHead", {InstanceMethod("acceptance", &StoppingHeadObject::acceptance)}));
}

void export_stopping_head(Napi::Env env, Napi::Object exports) { StoppingHeadObject::define(env, exports); }

}  // namespace outrider::binding
