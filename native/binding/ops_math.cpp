// The ops that work on plain arrays of f32, one thin function each. They run on the calling thread.
#include <napi.h>

#include <cmath>
#include <cstring>

#include "base/buffer.h"
#include "base/dtype.h"
#include "binding/args.h"
#include "formats/gguf_blocks.h"
#include "ops/activation/activation.h"
#include "ops/attention/attention.h"
#include "ops/embedding/embedding.h"
#include "ops/gemm/gemm.h"
#include "ops/kv_write/kv_write.h"
#include "ops/layernorm/layernorm.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "ops/rope/rope.h"
#include "ops/sample/sample.h"
#include "ops/sample/scan.h"
#include "ops/softmax/softmax.h"
#include "ops/topk/topk.h"

namespace outrider::binding {
namespace {

Buffer take_buffer(Napi::Env env, std::size_t bytes) {
  Buffer buffer(bytes);
  if (!buffer && bytes > 0)
    throw_error(env, Status::kMemory, "Expected " + std::to_string(bytes) + " bytes of scratch, the system has none");
  return buffer;
}

// (op) => names of the CPU levels that have an implementation of their own and run here.
Napi::Value op_levels(const Napi::CallbackInfo& info) {
  constexpr const char* kNames[] = {"rmsnorm", "layernorm", "rope",      "activation", "softmax", "topk",
                                    "gemm",    "embedding", "attention", "kv_write",   "sample"};
  constexpr unsigned (*kLevelsOf[])() = {ops::rmsnorm_levels,    ops::layernorm_levels, ops::rope_levels,
                                         ops::activation_levels, ops::softmax_levels,   ops::topk_levels,
                                         ops::gemm_levels,       ops::embedding_levels, ops::attention_levels,
                                         ops::kv_write_levels,   ops::scan_levels};
  static_assert(std::size(kNames) == std::size(kLevelsOf));
  const unsigned bits = kLevelsOf[take_choice(info[0], kNames, "op")]();
  Napi::Array names = Napi::Array::New(info.Env());
  for (int i = 0; i < kLevels; ++i) {
    const auto level = static_cast<Level>(i);
    if ((bits >> i & 1u) != 0 && level_available(level)) names.Set(names.Length(), level_name(level));
  }
  return names;
}

// (bits: Uint16Array, "f16" | "bf16") => Float32Array
Napi::Value widen(const Napi::CallbackInfo& info) {
  constexpr const char* kTypes[] = {"f16", "bf16"};
  const auto* bits = take_array<std::uint16_t>(info[0], 0, "bits");
  const std::size_t count = info[0].As<Napi::TypedArray>().ElementLength();
  const DType type = take_choice(info[1], kTypes, "type") == 0 ? DType::kF16 : DType::kBF16;
  Napi::Float32Array out = Napi::Float32Array::New(info.Env(), count);
  float* values = out.Data();
  for (std::size_t i = 0; i < count; ++i) values[i] = load_float(bits, type, i);
  return out;
}

// (x [N, K], weight? [K], out [N, K], N, K, xStride, eps, level?)
void rmsnorm(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const long N = take_integer(info[3], "N"), K = take_integer(info[4], "K"), stride = take_integer(info[5], "xStride");
  ops::rmsnorm(
      {take_array<float>(info[0], strided_length(env, N, K, stride, "x"), "x"),
       take_optional<float>(info[1], K, "weight"), take_array<float>(info[2], take_product(env, N, K, "out"), "out"), N,
       K, stride, K, take_float(info[6], "eps")},
      read_level(info[7]));
}

// (x [N, K], weight? [K], bias? [K], out [N, K], N, K, eps, level?)
void layernorm(const Napi::CallbackInfo& info) {
  const long N = take_integer(info[4], "N"), K = take_integer(info[5], "K");
  const long count = take_product(info.Env(), N, K, "x");
  ops::layernorm({take_array<float>(info[0], count, "x"), take_optional<float>(info[1], K, "weight"),
                  take_optional<float>(info[2], K, "bias"), take_array<float>(info[3], count, "out"), N, K,
                  take_float(info[6], "eps")},
                 read_level(info[7]));
}

// (x [T, H, D] in place, positions [T], invFreq [half], T, H, D, half, magnitude, interleaved, level?)
void rope(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const long T = take_integer(info[3], "T"), H = take_integer(info[4], "H"), D = take_integer(info[5], "D");
  const long half = take_integer(info[6], "half", 0, static_cast<double>(D / 2));
  const long row = take_product(env, H, D, "x"), angles = take_product(env, T, half, "angles");
  float* x = take_array<float>(info[0], take_product(env, T, row, "x"), "x");
  const auto* positions = take_array<std::int32_t>(info[1], T, "positions");
  const auto* inv_freq = take_array<float>(info[2], half, "invFreq");
  const float magnitude = take_float(info[7], "magnitude");
  const Level level = read_level(info[9]);
  const Buffer table = take_buffer(env, static_cast<std::size_t>(angles) * 2 * sizeof(float));
  ops::rope_table(positions, T, inv_freq, half, magnitude, table.as<float>(), table.as<float>() + angles);
  ops::rope({x, T, H, D, row, table.as<float>(), table.as<float>() + angles, half, info[8].ToBoolean().Value()}, level);
}

// (kind, gate [n], up [n], out [n], n, level?)
void activation(const Napi::CallbackInfo& info) {
  constexpr const char* kKinds[] = {"silu", "gelu_tanh", "gelu"};  // in the order of ops::Activation
  const long n = take_integer(info[4], "n");
  ops::activation(
      {static_cast<ops::Activation>(take_choice(info[0], kKinds, "kind")), take_array<float>(info[1], n, "gate"),
       take_array<float>(info[2], n, "up"), take_array<float>(info[3], n, "out"), n},
      read_level(info[5]));
}

// (x [N, K], out [N, K], N, K, scale, softCap, level?)
void softmax(const Napi::CallbackInfo& info) {
  const long N = take_integer(info[2], "N"), K = take_integer(info[3], "K"),
             count = take_product(info.Env(), N, K, "x");
  ops::softmax({take_array<float>(info[0], count, "x"), take_array<float>(info[1], count, "out"), N, K,
                take_float(info[4], "scale"), take_float(info[5], "softCap")},
               read_level(info[6]));
}

// (x [N, V], ids [N, k], values [N, k], logsumexp? [N], N, V, xStride, k, level?)
void topk(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const long N = take_integer(info[4], "N"), V = take_integer(info[5], "V", 1, 2147483647.0);
  const long stride = take_integer(info[6], "xStride"), k = take_integer(info[7], "k", 1, static_cast<double>(V));
  const long kept = take_product(env, N, k, "ids");
  ops::topk({take_array<float>(info[0], strided_length(env, N, V, stride, "x"), "x"), N, V, stride, k,
             take_array<std::int32_t>(info[1], kept, "ids"), take_array<float>(info[2], kept, "values"),
             take_optional<float>(info[3], N, "logsumexp")},
            read_level(info[8]));
}

std::uint64_t take_seed(const Napi::Value& value) {
  if (!value.IsBigInt()) wrong(value.Env(), "a bigint", "seed");
  bool lossless = false;
  return value.As<Napi::BigInt>().Uint64Value(&lossless);
}

// What a call of the sampler reads, with the memory that it works in.
struct SampleCall {
  std::vector<std::int32_t> history, bias_ids, suppressed;
  std::vector<float> bias;
  Buffer memory;
  ops::SampleArgs args;
};

// (logits [V], { temperature, topK, topP, minP, typicalP, repetitionPenalty, frequencyPenalty, presencePenalty, seed,
// position, history, biasIds, bias, suppressed }). Logits are copied.
void read_sample(const Napi::CallbackInfo& info, SampleCall* call) {
  const Napi::Env env = info.Env();
  const auto* logits = take_array<float>(info[0], 1, "logits");
  const long V = static_cast<long>(info[0].As<Napi::TypedArray>().ElementLength());
  if (V > 2147483647) wrong(env, "fewer elements", "logits");
  const Napi::Object from = read_object(info[1], "options");
  const auto number = [&from](const char* name) { return static_cast<float>(read_number(from, name)); };
  call->history = read_typed<std::int32_t>(from, "history", napi_int32_array);
  call->bias_ids = read_typed<std::int32_t>(from, "biasIds", napi_int32_array);
  call->bias = read_typed<float>(from, "bias", napi_float32_array);
  call->suppressed = read_typed<std::int32_t>(from, "suppressed", napi_int32_array);
  for (const auto* ids : {&call->bias_ids, &call->suppressed}) {
    for (const std::int32_t id : *ids) {
      if (id < 0 || id >= V) wrong(env, "token ids within the vocabulary", "bias and suppressed tokens");
    }
  }
  if (call->bias_ids.size() != call->bias.size()) wrong(env, "one value for each id", "bias");
  const std::size_t scratch_bytes = ops::sample_scratch_bytes(V);
  call->memory = take_buffer(env, scratch_bytes + static_cast<std::size_t>(V) * sizeof(float));
  auto* own = reinterpret_cast<float*>(call->memory.data() + scratch_bytes);
  std::memcpy(own, logits, static_cast<std::size_t>(V) * sizeof(float));
  call->args = {{number("temperature"), static_cast<std::int32_t>(std::min(read_integer(from, "topK"), 2147483647L)),
                 number("topP"), number("minP"), number("typicalP"), number("repetitionPenalty"),
                 number("frequencyPenalty"), number("presencePenalty"), take_seed(from.Get("seed"))},
                own,
                V,
                static_cast<std::uint64_t>(read_integer(from, "position")),
                call->history.data(),
                static_cast<long>(call->history.size()),
                call->bias_ids.data(),
                call->bias.data(),
                static_cast<long>(call->bias.size()),
                call->suppressed.data(),
                static_cast<long>(call->suppressed.size()),
                call->memory.data(),
                -1};
}

void run_sample(Napi::Env env, SampleCall* call, Level level) {
  if (ops::sample(call->args, level) == Status::kOk) return;
  throw_error(env, Status::kArgument,
              "Expected a finite largest logit after bias and suppression for logits, received none");
}

// (logits, options as in read_sample, level?) => token
Napi::Value sample(const Napi::CallbackInfo& info) {
  SampleCall call;
  read_sample(info, &call);
  run_sample(info.Env(), &call, read_level(info[2]));
  return Napi::Number::New(info.Env(), call.args.token);
}

// (logits, options as in read_sample, count, level?) => { tokens, logq, values }, [count] each
Napi::Value sample_draws(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  SampleCall call;
  read_sample(info, &call);
  const long count = take_integer(info[2], "count", 1, static_cast<double>(call.args.V));
  auto tokens = Napi::Int32Array::New(env, static_cast<std::size_t>(count));
  auto logq = Napi::Float64Array::New(env, static_cast<std::size_t>(count));
  auto values = Napi::Float64Array::New(env, static_cast<std::size_t>(count));
  call.args.draws = count;
  call.args.draw_ids = tokens.Data();
  call.args.draw_logq = logq.Data();
  call.args.draw_values = values.Data();
  run_sample(env, &call, read_level(info[3]));
  Napi::Object out = Napi::Object::New(env);
  out.Set("tokens", tokens);
  out.Set("logq", logq);
  out.Set("values", values);
  return out;
}

// (seed, position, token) => the uniform in (0, 1) behind the draw
Napi::Value sample_uniform(const Napi::CallbackInfo& info) {
  const long position = take_integer(info[1], "position"), token = take_integer(info[2], "token", 0, 2147483647.0);
  return Napi::Number::New(info.Env(), ops::sample_uniform(take_seed(info[0]), static_cast<std::uint64_t>(position),
                                                           static_cast<std::uint32_t>(token)));
}

// (type, bytes of whole rows, cols) => { rows, bits, group, values, codes, scale, zero }: rows of GGUF blocks by the
// format's definition (values) and by their mapping into the affine family (one code a byte).
Napi::Value decode_gguf(const Napi::CallbackInfo& info) {
  constexpr const char* kTypes[] = {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0",
                                    "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"};  // in the order of GgufType
  const Napi::Env env = info.Env();
  const auto type = static_cast<GgufType>(take_choice(info[0], kTypes, "type"));
  const auto* bytes = take_array<std::uint8_t>(info[1], 0, "bytes");
  const std::size_t length = info[1].As<Napi::TypedArray>().ElementLength();
  const auto cols = static_cast<std::size_t>(take_integer(info[2], "cols", 1, 2147483647.0));
  const std::size_t row_bytes = gguf_row_bytes(type, cols);
  if (row_bytes == 0 || length % row_bytes != 0)
    throw_error(env, Status::kShape, "Expected whole rows of blocks for bytes");
  const AffineShape shape = gguf_affine_shape(type);
  const std::size_t rows = length / row_bytes, groups = cols / static_cast<std::size_t>(shape.group);
  auto values = Napi::Float32Array::New(env, rows * cols), scale = Napi::Float32Array::New(env, rows * groups);
  auto zero = Napi::Float32Array::New(env, rows * groups);
  auto codes = Napi::Uint8Array::New(env, rows * cols);
  for (std::size_t r = 0; r < rows; ++r) {
    const std::uint8_t* row = bytes + r * row_bytes;
    gguf_decode_floats(type, row, cols, values.Data() + r * cols);
    gguf_decode_affine(type, row, cols, codes.Data() + r * cols, scale.Data() + r * groups, zero.Data() + r * groups);
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("rows", Napi::Number::New(env, static_cast<double>(rows)));
  out.Set("bits", shape.bits);
  out.Set("group", shape.group);
  out.Set("values", values);
  out.Set("codes", codes);
  out.Set("scale", scale);
  out.Set("zero", zero);
  return out;
}

}  // namespace

void export_math_ops(Napi::Env env, Napi::Object exports) {
  exports.Set("opLevels", Napi::Function::New(env, op_levels, "opLevels"));
  exports.Set("widen", Napi::Function::New(env, widen, "widen"));
  exports.Set("rmsnorm", Napi::Function::New(env, rmsnorm, "rmsnorm"));
  exports.Set("layernorm", Napi::Function::New(env, layernorm, "layernorm"));
  exports.Set("rope", Napi::Function::New(env, rope, "rope"));
  exports.Set("activation", Napi::Function::New(env, activation, "activation"));
  exports.Set("softmax", Napi::Function::New(env, softmax, "softmax"));
  exports.Set("topk", Napi::Function::New(env, topk, "topk"));
  exports.Set("sample", Napi::Function::New(env, sample, "sample"));
  exports.Set("sampleDraws", Napi::Function::New(env, sample_draws, "sampleDraws"));
  exports.Set("sampleUniform", Napi::Function::New(env, sample_uniform, "sampleUniform"));
  exports.Set("decodeGguf", Napi::Function::New(env, decode_gguf, "decodeGguf"));
}

}  // namespace outrider::binding
