#include "binding/read_model.h"

#include <iterator>

#include "binding/read.h"

namespace outrider::binding {
namespace {

constexpr const char* kGgufNames[] = {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"};

template <std::size_t N>
int choice(const Napi::Object& from, const char* name, const char* const (&values)[N]) {
  const std::string value = read_string(from, name);
  for (std::size_t i = 0; i < N; ++i) {
    if (value == values[i]) return static_cast<int>(i);
  }
  wrong(from.Env(), "one of the documented names", name);
}

bool dense_format(const std::string& name, WeightFormat* format) {
  if (name == "f32")
    *format = WeightFormat::kF32;
  else if (name == "f16")
    *format = WeightFormat::kF16;
  else if (name == "bf16")
    *format = WeightFormat::kBF16;
  else
    return false;
  return true;
}

Span read_span(const Napi::Value& value, const char* name) {
  const Napi::Object from = read_object(value, name);
  const long file = read_integer(from, "file"), offset = read_integer(from, "offset"),
             bytes = read_integer(from, "byteLength");
  if (file < 0 || file > 1 << 20 || offset < 0 || bytes < 0) wrong(from.Env(), "a span of bytes", name);
  return {static_cast<int>(file), static_cast<std::size_t>(offset), static_cast<std::size_t>(bytes)};
}

MatrixSource read_matrix(const Napi::Value& value, const char* name) {
  const Napi::Object from = read_object(value, name);
  MatrixSource s;
  const std::string format = read_string(from, "format");
  s.rows = read_integer(from, "rows");
  s.cols = read_integer(from, "cols");
  s.row_start = read_integer(from, "rowStart", 0);
  s.stored_rows = read_integer(from, "storedRows", s.rows);
  s.permuted_heads = read_integer(from, "permutedHeads", 0);
  s.data = read_span(from.Get("data"), name);
  if (dense_format(format, &s.dense)) return s;
  if (format == "affine") {
    s.kind = SourceKind::kAffine;
    s.bits = static_cast<int>(read_integer(from, "bits"));
    if (s.bits != 2 && s.bits != 3 && s.bits != 4 && s.bits != 8) wrong(from.Env(), "2, 3, 4 or 8 bits", name);
    s.group = read_integer(from, "group");
    s.f32_scales = read_string(from, "scaleFormat") == "f32";
    s.scale = read_span(from.Get("scale"), name);
    s.zero = read_span(from.Get("zero"), name);
    return s;
  }
  s.kind = SourceKind::kGguf;
  s.gguf = static_cast<GgufType>(choice(from, "format", kGgufNames));
  return s;
}

VectorSource read_vector_source(const Napi::Value& value, const char* name) {
  const Napi::Object from = read_object(value, name);
  VectorSource s;
  if (!dense_format(read_string(from, "format"), &s.format)) wrong(from.Env(), "f32, f16 or bf16", name);
  s.length = read_integer(from, "length");
  s.start = read_integer(from, "start", 0);
  s.stored_length = read_integer(from, "storedLength", s.length);
  s.permuted_heads = read_integer(from, "permutedHeads", 0);
  s.add = static_cast<float>(read_number(from, "add", 0));
  s.data = read_span(from.Get("data"), name);
  return s;
}

std::optional<VectorSource> read_optional(const Napi::Object& from, const char* name) {
  const Napi::Value value = from.Get(name);
  if (absent(value)) return std::nullopt;
  return read_vector_source(value, name);
}

LayerSources read_layer(const Napi::Object& from) {
  LayerSources s;
  s.q = read_matrix(from.Get("q"), "q");
  s.k = read_matrix(from.Get("k"), "k");
  s.v = read_matrix(from.Get("v"), "v");
  s.o = read_matrix(from.Get("o"), "o");
  s.gate = read_matrix(from.Get("gate"), "gate");
  s.up = read_matrix(from.Get("up"), "up");
  s.down = read_matrix(from.Get("down"), "down");
  s.q_bias = read_optional(from, "qBias");
  s.k_bias = read_optional(from, "kBias");
  s.v_bias = read_optional(from, "vBias");
  s.o_bias = read_optional(from, "oBias");
  s.gate_bias = read_optional(from, "gateBias");
  s.up_bias = read_optional(from, "upBias");
  s.down_bias = read_optional(from, "downBias");
  s.attention_norm = read_optional(from, "attentionNorm");
  s.attention_post_norm = read_optional(from, "attentionPostNorm");
  s.mlp_norm = read_optional(from, "mlpNorm");
  s.mlp_post_norm = read_optional(from, "mlpPostNorm");
  s.q_norm = read_optional(from, "qNorm");
  s.k_norm = read_optional(from, "kNorm");
  return s;
}

}  // namespace

DecoderSpec read_spec(const Napi::Object& from) {
  DecoderSpec s;
  s.family = read_string(from, "family");
  s.hidden = read_integer(from, "hidden");
  s.ffn = read_integer(from, "ffn");
  s.vocab = read_integer(from, "vocab");
  s.heads = read_integer(from, "heads");
  s.kv_heads = read_integer(from, "kvHeads");
  s.head_dim = read_integer(from, "headDim");
  s.context_length = read_integer(from, "contextLength");
  s.norm_eps = static_cast<float>(read_number(from, "normEps"));
  constexpr const char* kActivations[] = {"silu", "gelu_tanh", "gelu"};
  s.activation = static_cast<ops::Activation>(choice(from, "activation", kActivations));
  constexpr const char* kQkNorms[] = {"none", "head", "full"};
  s.qk_norm = static_cast<QkNorm>(choice(from, "qkNorm", kQkNorms));
  s.embedding_scale = static_cast<float>(read_number(from, "embeddingScale"));
  s.residual_scale = static_cast<float>(read_number(from, "residualScale"));
  s.attention_scale = static_cast<float>(read_number(from, "attentionScale"));
  s.attention_soft_cap = static_cast<float>(read_number(from, "attentionSoftCap"));
  s.logit_scale = static_cast<float>(read_number(from, "logitScale"));
  s.logit_soft_cap = static_cast<float>(read_number(from, "logitSoftCap"));
  const Napi::Array ropes = read_array(from, "ropes"), layers = read_array(from, "layers");
  for (std::uint32_t i = 0; i < ropes.Length(); ++i) {
    const Napi::Object rope = read_object(ropes.Get(i), "ropes");
    s.ropes.push_back({read_typed<float>(rope, "invFreq", napi_float32_array),
                       static_cast<float>(read_number(rope, "magnitude")), read_flag(rope, "interleaved")});
  }
  for (std::uint32_t i = 0; i < layers.Length(); ++i) {
    const Napi::Object layer = read_object(layers.Get(i), "layers");
    s.layers.push_back({static_cast<int>(read_integer(layer, "rope")), read_integer(layer, "window")});
  }
  return s;
}

ModelSources read_sources(const Napi::Array& files, const Napi::Object& weights) {
  ModelSources s;
  for (std::uint32_t i = 0; i < files.Length(); ++i) {
    const Napi::Value file = files.Get(i);
    if (!file.IsString()) wrong(files.Env(), "file names", "files");
    s.files.push_back(file.As<Napi::String>().Utf8Value());
  }
  s.embedding = read_matrix(weights.Get("embedding"), "embedding");
  if (!absent(weights.Get("head"))) s.head = read_matrix(weights.Get("head"), "head");
  s.final_norm = read_vector_source(weights.Get("finalNorm"), "finalNorm");
  const Napi::Array layers = read_array(weights, "layers");
  for (std::uint32_t i = 0; i < layers.Length(); ++i)
    s.layers.push_back(read_layer(read_object(layers.Get(i), "layers")));
  return s;
}

}  // namespace outrider::binding
