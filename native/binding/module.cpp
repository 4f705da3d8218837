// The export list of the addon.
#include <dlfcn.h>
#include <napi.h>

#include "binding/environment.h"

namespace outrider::binding {

void export_machine(Napi::Env env, Napi::Object exports);
void export_model(Napi::Env env, Napi::Object exports);
void export_sequence(Napi::Env env, Napi::Object exports);
void export_math_ops(Napi::Env env, Napi::Object exports);
void export_linear_ops(Napi::Env env, Napi::Object exports);
void export_attention_ops(Napi::Env env, Napi::Object exports);
void export_quantize_ops(Napi::Env env, Napi::Object exports);
void export_distiller(Napi::Env env, Napi::Object exports);
void export_quantizer(Napi::Env env, Napi::Object exports);
void export_stopping_head(Napi::Env env, Napi::Object exports);
void export_surveyor(Napi::Env env, Napi::Object exports);

namespace {

// Node unloads an addon when the worker that loaded it ends, while our threads still run its code.
void stay_loaded() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&stay_loaded), &info) != 0 && info.dli_fname != nullptr) {
    dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
  }
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  stay_loaded();
  Environment::install(env);
  export_machine(env, exports);
  export_model(env, exports);
  export_sequence(env, exports);
  export_math_ops(env, exports);
  export_linear_ops(env, exports);
  export_attention_ops(env, exports);
  export_quantize_ops(env, exports);
  export_distiller(env, exports);
  export_quantizer(env, exports);
  export_stopping_head(env, exports);
  export_surveyor(env, exports);
  return exports;
}

NODE_API_MODULE(outrider, init)

}  // namespace
}  // namespace outrider::binding
