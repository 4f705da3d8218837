// The quantiser's solver as an op.
#include <napi.h>

#include <algorithm>
#include <vector>

#include "base/thread_pool.h"
#include "binding/args.h"
#include "quantize/codes.h"
#include "quantize/solver.h"

namespace outrider::binding {
namespace {

constexpr long kMaxWidth = 1L << 20;

Napi::Value float_array(Napi::Env env, const std::vector<float>& values) {
  auto array = Napi::Float32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

// (W [M, d], H [d, d], M, d, { bits, group, symmetric, method, rounds, damping, f16Grid, threads }, level?) =>
// { codes, scale, zero, loss, steps }
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

}  // namespace

void export_quantize_ops(Napi::Env env, Napi::Object exports) {
  exports.Set("quantizeLayer", Napi::Function::New(env, quantize_layer, "quantizeLayer"));
}

}  // namespace outrider::binding
