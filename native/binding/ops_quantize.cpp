// The quantiser's solver as an op.
#include <napi.h>

#include <algorithm>
#include <vector>

#include "base/thread_pool.h"
#include "binding/args.h"
#include "binding/read_model.h"
#include "quantize/block_gradient.h"
#include "quantize/codes.h"
#include "quantize/compensation.h"
#include "quantize/head_gradient.h"
#include "quantize/solver.h"

namespace outrider::binding {
namespace {

// bf16: true for products of factors in bf16, where the level has them.
quantize::Factors read_factors(const Napi::Object& from) {
  return read_flag(from, "bf16") ? quantize::Factors::kBF16 : quantize::Factors::kF32;
}

constexpr long kMaxWidth = 1L << 20;

Napi::Value float_array(Napi::Env env, const std::vector<float>& values) {
  auto array = Napi::Float32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

// (W [M, d], H [d, d], M, d, { bits, group, symmetric, method, rounds, projected, damping, f16Grid, threads }, level?)
// => { codes, scale, zero, loss, steps }
Napi::Value quantize_layer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  quantize::LayerTask task;
  quantize::Shape& s = task.shape;
  s.M = take_integer(info[2], "M", 1, kMaxWidth);
  s.d = take_integer(info[3], "d", 1, kMaxWidth);
  const Napi::Object options = read_object(info[4], "options");
  s.bits = static_cast<int>(take_integer(options.Get("bits"), "bits", 2, 8));
  if (s.bits != 2 && s.bits != 3 && s.bits != 4 && s.bits != 8) wrong(env, "2, 3, 4 or 8", "bits");
  s.group = std::min(s.d, take_integer(options.Get("group"), "group", 1, kMaxElements));
  s.G = (s.d + s.group - 1) / s.group;
  s.symmetric = read_flag(options, "symmetric");
  constexpr const char* kMethods[] = {"rtn", "gptq", "decoupleq"};
  task.method = static_cast<quantize::Method>(take_choice(options.Get("method"), kMethods, "method"));
  task.rounds = static_cast<int>(take_integer(options.Get("rounds"), "rounds", 1, 1000));
  task.projected = read_flag(options, "projected");
  task.f16_grid = read_flag(options, "f16Grid");
  const float damping = take_float(options.Get("damping"), "damping");
  const auto threads = static_cast<int>(take_integer(options.Get("threads"), "threads", 1, kMaxThreads));
  const quantize::Effort effort{threads, read_level(info[5])};
  // Copies: memory shared with a worker may change meanwhile.
  const std::vector<float> weights = copy_array<float>(info[0], take_product(env, s.M, s.d, "weights"), "weights");
  std::vector<float> statistics = copy_array<float>(info[1], take_product(env, s.d, s.d, "hessian"), "hessian");
  quantize::damp(statistics.data(), s.d, static_cast<double>(damping));
  task.W = weights.data();
  task.H = statistics.data();
  quantize::LayerResult result;
  if (Result solved = quantize::solve_layer(task, effort, &result); !solved.ok())
    throw_error(env, solved.status, solved.message);
  Napi::Object out = Napi::Object::New(env);
  auto codes = Napi::Uint8Array::New(env, static_cast<std::size_t>(s.M * quantize::code_row_bytes(s)));
  quantize::store_codes(s, result.q.data(), codes.Data());
  out.Set("codes", codes);
  quantize::to_unsigned(s, &result.grid);
  out.Set("scale", float_array(env, result.grid.scale));
  out.Set("zero", float_array(env, result.grid.zero));
  auto loss = Napi::Float64Array::New(env, result.loss.size());
  std::copy(result.loss.begin(), result.loss.end(), loss.Data());
  out.Set("loss", loss);
  Napi::Array steps = Napi::Array::New(env, result.steps.size());
  for (std::size_t i = 0; i < result.steps.size(); ++i) {
    Napi::Object step = Napi::Object::New(env);
    step.Set("name", result.steps[i].name);
    step.Set("loss", result.steps[i].loss);
    steps.Set(static_cast<std::uint32_t>(i), step);
  }
  out.Set("steps", steps);
  return out;
}

// (W [M, d], H [d, d], C [d, d], M, d, level?) => V [M, d] of compensation.h, with the dampings of a calibration; for
// tests.
Napi::Value compensated(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const long M = take_integer(info[3], "M", 1, kMaxWidth), d = take_integer(info[4], "d", 1, kMaxWidth);
  std::vector<float> weights = copy_array<float>(info[0], take_product(env, M, d, "weights"), "weights");
  std::vector<float> H = copy_array<float>(info[1], take_product(env, d, d, "hessian"), "hessian");
  std::vector<float> difference = copy_array<float>(info[2], d * d, "cross");
  for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= H[i];
  quantize::damp(H.data(), d, quantize::kDamping);
  const quantize::Effort effort{2, read_level(info[5])};
  quantize::IntegerStep step;
  throw_if(env, step.prepare(H.data(), quantize::shape_of(M, d, 2, d), effort));
  quantize::Product product(effort);
  throw_if(env, quantize::compensate(difference.data(), step, M, d, product, weights.data()));
  return float_array(env, weights);
}

// A plain matrix [rows, cols].
quantize::Linear take_linear(const Napi::Value& value, long rows, long cols, const char* name) {
  const Napi::Env env = value.Env();
  const auto values = copy_array<float>(value, take_product(env, rows, cols, name), name);
  quantize::Linear linear{rows, cols, quantize::floats(rows * cols), {}};
  if (!linear.w) throw_error(env, Status::kMemory, "Cannot allocate a matrix");
  std::copy(values.begin(), values.end(), linear.w.as<float>());
  return linear;
}

// ({ spec (of one layer), parts: q, k, v, o, gate, up, down [rows, cols], biases: of q, k, v or absent, norms:
// attention, MLP and those of heads, x [T, hidden], target [T, hidden], bf16? }) => { loss, parts, norms, x }:
// gradients of the block's loss, for tests.
Napi::Value block_gradients(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object from = read_object(info[0], "options");
  const DecoderSpec spec = read_spec(read_object(from.Get("spec"), "spec"));
  throw_if(env, check_spec(spec, 1));
  const auto shapes = quantize::part_shapes(spec);
  const Napi::Array parts = read_array(from, "parts"), norms = read_array(from, "norms");
  quantize::BlockWeights weights;
  for (std::uint32_t part = 0; part < quantize::kParts; ++part) {
    quantize::Linear& linear = weights.parts[part] =
        take_linear(parts.Get(part), shapes[part].rows, shapes[part].cols, "parts");
    if (part < 3 && !absent(from.Get("biases")))
      linear.bias = copy_array<float>(read_array(from, "biases").Get(part), linear.rows, "biases");
  }
  const bool heads = spec.qk_norm == QkNorm::kHead;
  weights.attention_norm = copy_array<float>(norms.Get(0u), spec.hidden, "norms");
  weights.mlp_norm = copy_array<float>(norms.Get(1u), spec.hidden, "norms");
  if (heads) {
    weights.q_norm = copy_array<float>(norms.Get(2u), spec.head_dim, "norms");
    weights.k_norm = copy_array<float>(norms.Get(3u), spec.head_dim, "norms");
  }
  if (!quantize::differentiable(spec, weights))
    throw_error(env, Status::kUnsupported, "Expected a block of the llama, mistral, qwen2 or qwen3 kind");
  const long T = take_integer(from.Get("T"), "T", 1, kMaxWidth);
  const auto x = copy_array<float>(from.Get("x"), take_product(env, T, spec.hidden, "x"), "x");
  const auto target = copy_array<float>(from.Get("target"), T * spec.hidden, "target");
  const quantize::Effort effort{2, read_level(info[1])};
  quantize::BlockGradient block(spec, T, effort);
  block.round(read_factors(from));
  if (!block.allocate(weights)) throw_error(env, Status::kMemory, "Cannot allocate the gradients of a block");
  double loss = 0;
  throw_if(env, block.forward(weights, 0, x.data(), T));
  throw_if(env, block.backward(weights, target.data(), true, &loss));
  const auto floats = [&](const float* values, std::size_t count) {
    auto array = Napi::Float32Array::New(env, count);
    std::copy_n(values, count, array.Data());
    return array;
  };
  const quantize::BlockGradients& found = block.gradients();
  Napi::Object out = Napi::Object::New(env);
  Napi::Array d_parts = Napi::Array::New(env), d_norms = Napi::Array::New(env);
  for (std::uint32_t part = 0; part < quantize::kParts; ++part) {
    d_parts.Set(part,
                floats(found.parts[part].as<float>(), static_cast<std::size_t>(shapes[part].rows * shapes[part].cols)));
  }
  std::uint32_t at = 0;
  for (const auto* norm : {&found.attention_norm, &found.mlp_norm, &found.q_norm, &found.k_norm}) {
    if (!norm->empty()) d_norms.Set(at++, float_array(env, *norm));
  }
  out.Set("loss", loss);
  out.Set("parts", d_parts);
  out.Set("norms", d_norms);
  out.Set("x", floats(found.x.as<float>(), x.size()));
  return out;
}

// ({ T, hidden, vocab, bf16?, eps, logitScale, x, teacher [T, hidden], norm [hidden], head, teacherHead [vocab, hidden]
// }) => { loss, x, norm }: the divergence of a head and its gradients, for tests.
Napi::Value head_gradients(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object from = read_object(info[0], "options");
  const long T = take_integer(from.Get("T"), "T", 1, kMaxWidth),
             hidden = take_integer(from.Get("hidden"), "hidden", 1, kMaxWidth),
             vocab = take_integer(from.Get("vocab"), "vocab", 1, kMaxWidth);
  const long states = take_product(env, T, hidden, "x");
  const auto x = copy_array<float>(from.Get("x"), states, "x");
  const auto teacher = copy_array<float>(from.Get("teacher"), states, "teacher");
  const auto norm = copy_array<float>(from.Get("norm"), hidden, "norm");
  const quantize::Linear head = take_linear(from.Get("head"), vocab, hidden, "head"),
                         teacher_head = take_linear(from.Get("teacherHead"), vocab, hidden, "teacherHead");
  quantize::HeadGradient gradient(T, hidden, vocab, take_float(from.Get("eps"), "eps"),
                                  take_float(from.Get("logitScale"), "logitScale"), {2, read_level(info[1])});
  gradient.round(read_factors(from));
  if (!gradient.allocate()) throw_error(env, Status::kMemory, "Cannot allocate the gradients of a head");
  double loss = 0;
  throw_if(env, gradient.run({x.data(), teacher.data(), T, norm, head, teacher_head, nullptr}, true, &loss));
  auto dx = Napi::Float32Array::New(env, x.size());
  std::copy_n(gradient.dx(), x.size(), dx.Data());
  Napi::Object out = Napi::Object::New(env);
  out.Set("loss", loss);
  out.Set("x", dx);
  out.Set("norm", float_array(env, gradient.d_norm()));
  return out;
}

}  // namespace

void export_quantize_ops(Napi::Env env, Napi::Object exports) {
  exports.Set("blockGradients", Napi::Function::New(env, block_gradients, "blockGradients"));
  exports.Set("compensated", Napi::Function::New(env, compensated, "compensated"));
  exports.Set("headGradients", Napi::Function::New(env, head_gradients, "headGradients"));
  exports.Set("quantizeLayer", Napi::Function::New(env, quantize_layer, "quantizeLayer"));
}

}  // namespace outrider::binding
