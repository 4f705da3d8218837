// What the quantiser and the distiller read from JavaScript and hand back.
#pragma once

#include <napi.h>

#include <algorithm>

#include "binding/read.h"
#include "quantize/block.h"
#include "quantize/grid.h"

namespace outrider::binding {

// { spec, weights, files, tokens, lengths, threads }
struct QuantizeSource {
  DecoderSpec spec;
  ModelSources sources;
  std::vector<std::int32_t> tokens;
  std::vector<long> lengths;
  quantize::Effort effort;
};
QuantizeSource read_quantize_source(const Napi::Object& from);

// 2, 3, 4 or 8, and 16 if `plain`.
int read_bits(const Napi::Object& from, bool plain);
// 4, 8 or 16: of an embedding or a head.
int take_table_bits(const Napi::Value& value, const char* name);
// { bits, group, codes, scale, zero } of a matrix.
quantize::StoredMatrix read_stored(const Napi::Object& from, const quantize::PartShape& part);
// Trained norms: attention, MLP, queries, keys; the last two are empty unless heads have norms.
std::vector<std::vector<float>> read_norms(const Napi::Array& from, const DecoderSpec& spec);

Napi::Array norms_array(Napi::Env env, const std::vector<const std::vector<float>*>& norms);

template <typename Array, typename T>
Array to_typed(Napi::Env env, const std::vector<T>& values) {
  auto array = Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}
Napi::Uint16Array to_f16_array(Napi::Env env, const std::vector<float>& values);

}  // namespace outrider::binding
