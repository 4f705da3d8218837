// DecoderSpec and ModelWeights of lib/native/decoder.ts as C++ structs.
#pragma once

#include <napi.h>

#include "model/weights.h"

namespace outrider::binding {

DecoderSpec read_spec(const Napi::Object& from);
ModelSources read_sources(const Napi::Array& files, const Napi::Object& weights);

}  // namespace outrider::binding
