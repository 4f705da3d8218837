// The class of heads that end drafts.
#include "model/stopping_head.h"

#include "binding/objects.h"
#include "binding/read.h"
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

void export_stopping_head(Napi::Env env, Napi::Object exports) {
  exports.Set("NativeStoppingHead", StoppingHeadObject::DefineClass(env, "NativeStoppingHead", {}));
}

}  // namespace outrider::binding
