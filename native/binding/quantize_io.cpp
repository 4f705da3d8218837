#include "binding/quantize_io.h"

#include "base/half.h"
#include "base/thread_pool.h"
#include "binding/args.h"
#include "binding/read_model.h"
#include "quantize/codes.h"

namespace outrider::binding {

QuantizeSource read_quantize_source(const Napi::Object& from) {
  const Napi::Env env = from.Env();
  QuantizeSource source;
  source.spec = read_spec(read_object(from.Get("spec"), "spec"));
  source.sources = read_sources(read_array(from, "files"), read_object(from.Get("weights"), "weights"));
  throw_if(env, check_spec(source.spec, source.sources.layers.size()));
  source.tokens = read_typed<std::int32_t>(from, "tokens", napi_int32_array);
  const auto counts = read_typed<std::int32_t>(from, "lengths", napi_int32_array);
  source.lengths.assign(counts.begin(), counts.end());
  long total = 0;
  for (const long length : source.lengths) {
    if (length < 1 || length > source.spec.context_length) wrong(env, "sequences within the context length", "lengths");
    total += length;
  }
  if (source.tokens.empty() || total != static_cast<long>(source.tokens.size()))
    wrong(env, "lengths that sum to the tokens", "lengths");
  for (const std::int32_t token : source.tokens) {
    if (token < 0 || token >= source.spec.vocab) wrong(env, "token ids below the vocabulary size", "tokens");
  }
  const long threads = read_integer(from, "threads");
  if (threads < 1 || threads > kMaxThreads) wrong(env, "1 to 256", "threads");
  source.effort = {static_cast<int>(threads), level_chosen()};
  return source;
}

int read_bits(const Napi::Object& from, bool plain) {
  const auto bits = static_cast<int>(read_integer(from, "bits"));
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8 && !(plain && bits == 16))
    wrong(from.Env(), plain ? "2, 3, 4, 8 or 16" : "2, 3, 4 or 8", "bits");
  return bits;
}

int take_table_bits(const Napi::Value& value, const char* name) {
  const auto bits = static_cast<int>(take_integer(value, name, 4, 16));
  if (bits != 4 && bits != 8 && bits != 16) wrong(value.Env(), "4, 8 or 16", name);
  return bits;
}

quantize::StoredMatrix read_stored(const Napi::Object& from, const quantize::PartShape& part) {
  const Napi::Env env = from.Env();
  const long group = read_integer(from, "group");
  if (group < 1) wrong(env, "a positive integer", "group");
  quantize::StoredMatrix matrix;
  const quantize::Shape& s = matrix.shape = quantize::shape_of(part.rows, part.cols, read_bits(from, false), group);
  const auto codes = read_typed<std::uint8_t>(from, "codes", napi_uint8_array);
  const auto scale = read_typed<std::uint16_t>(from, "scale", napi_uint16_array);
  const auto zero = read_typed<std::uint16_t>(from, "zero", napi_uint16_array);
  const auto parameters = static_cast<std::size_t>(s.M * s.G);
  if (codes.size() != static_cast<std::size_t>(s.M * quantize::code_row_bytes(s)) || scale.size() != parameters ||
      zero.size() != parameters) {
    throw_error(env, Status::kShape, "Expected codes, scales and zeros of the matrix's shape for parts");
  }
  matrix.q.resize(static_cast<std::size_t>(s.M * s.d));
  quantize::read_codes(s, codes.data(), matrix.q.data());
  matrix.grid.scale.resize(parameters);
  matrix.grid.zero.resize(parameters);
  std::transform(scale.begin(), scale.end(), matrix.grid.scale.begin(), f16_to_f32);
  std::transform(zero.begin(), zero.end(), matrix.grid.zero.begin(), f16_to_f32);
  return matrix;
}

std::vector<std::vector<float>> read_norms(const Napi::Array& from, const DecoderSpec& spec) {
  const long head = spec.qk_norm == QkNorm::kHead ? spec.head_dim : 0;
  const long sizes[] = {spec.hidden, spec.hidden, head, head};
  std::vector<std::vector<float>> norms;
  for (std::uint32_t i = 0; i < 4; ++i) norms.push_back(copy_array<float>(from.Get(i), sizes[i], "norms"));
  return norms;
}

Napi::Array norms_array(Napi::Env env, const std::vector<const std::vector<float>*>& norms) {
  Napi::Array out = Napi::Array::New(env);
  for (std::uint32_t i = 0; i < norms.size(); ++i) out.Set(i, to_typed<Napi::Float32Array>(env, *norms[i]));
  return out;
}

Napi::Uint16Array to_f16_array(Napi::Env env, const std::vector<float>& values) {
  std::vector<std::uint16_t> bits(values.size());
  std::transform(values.begin(), values.end(), bits.begin(), f32_to_f16);
  return to_typed<Napi::Uint16Array>(env, bits);
}

}  // namespace outrider::binding
