// quantizer(): a model's blocks to few bits, one call each, on the loading engine.
#include <napi.h>

#include "binding/args.h"
#include "binding/objects.h"
#include "binding/quantize_io.h"
#include "binding/worker.h"
#include "quantize/calibration.h"
#include "quantize/codes.h"

namespace outrider::binding {
namespace {

using quantize::Calibration;
using quantize::kParts;
using Quantizer = Worker<Calibration>;
using Handle = Quantizer::Handle;

quantize::MatrixPlan read_plan(const Napi::Object& from, const quantize::PartShape& shape) {
  const Napi::Env env = from.Env();
  quantize::MatrixPlan plan;
  plan.bits = read_bits(from, true);
  if (plan.bits == 16) return plan;
  plan.group = read_integer(from, "group");
  if (plan.group < 1) wrong(env, "a positive integer", "group");
  const std::string method = read_string(from, "method");
  if (method != "rtn" && method != "gptq" && method != "decoupleq") wrong(env, "rtn, gptq or decoupleq", "method");
  plan.method = method == "rtn"    ? quantize::Method::kRound
                : method == "gptq" ? quantize::Method::kGptq
                                   : quantize::Method::kDecoupleq;
  plan.rounds = static_cast<int>(read_integer(from, "rounds", 4));
  if (plan.rounds < 1 || plan.rounds > 1000) wrong(env, "1 to 1000", "rounds");
  if (!absent(from.Get("codes"))) plan.earlier = read_stored(from, shape);
  return plan;
}

Napi::Object matrix_object(Napi::Env env, const quantize::MatrixOutcome& from) {
  Napi::Object matrix = Napi::Object::New(env);
  auto codes =
      Napi::Uint8Array::New(env, static_cast<std::size_t>(from.shape.M * quantize::code_row_bytes(from.shape)));
  quantize::store_codes(from.shape, from.q.data(), codes.Data());
  matrix.Set("rows", static_cast<double>(from.shape.M));
  matrix.Set("cols", static_cast<double>(from.shape.d));
  matrix.Set("group", static_cast<double>(from.shape.group));
  matrix.Set("codes", codes);
  matrix.Set("scale", to_f16_array(env, from.grid.scale));
  matrix.Set("zero", to_f16_array(env, from.grid.zero));
  matrix.Set("loss", from.loss);
  matrix.Set("rounded", from.rounded);
  return matrix;
}

Napi::Object block_object(Napi::Env env, const quantize::BlockOutcome& outcome) {
  Napi::Array parts = Napi::Array::New(env, kParts);
  for (int part = 0; part < kParts; ++part) {
    const quantize::MatrixOutcome& from = outcome.parts[static_cast<std::size_t>(part)];
    if (!from.q.empty()) parts.Set(static_cast<std::uint32_t>(part), matrix_object(env, from));
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("parts", parts);
  if (!outcome.minimised) return out;
  out.Set("errorBefore", outcome.error.before);
  out.Set("errorAfter", outcome.error.after);
  std::vector<const std::vector<float>*> norms;
  for (const auto& norm : outcome.norms) norms.push_back(&norm);
  out.Set("norms", norms_array(env, norms));
  return out;
}

// ({ parts: plans of q, k, v, o, gate, up, down; epochs, rate, seed, norms }) => { promise, abort(), progress() }
Napi::Value block(const Napi::CallbackInfo& info, const Handle& worker) {
  const Napi::Env env = info.Env();
  worker->check_idle(env);
  const DecoderSpec& spec = worker->object().spec();
  const long layer = worker->object().next_layer();
  if (layer >= static_cast<long>(spec.layers.size()))
    throw_error(env, Status::kArgument, "Expected no more blocks than the model has");
  const Napi::Object from = read_object(info[0], "plan");
  const Napi::Array parts = read_array(from, "parts");
  auto plan = std::make_shared<quantize::BlockPlan>();
  plan->epochs = static_cast<int>(take_integer(from.Get("epochs"), "epochs", 0, 1000));
  plan->rate = static_cast<double>(take_float(from.Get("rate"), "rate"));
  plan->seed = static_cast<std::uint64_t>(take_integer(from.Get("seed"), "seed"));
  const auto shapes = quantize::part_shapes(spec);
  for (std::uint32_t part = 0; part < kParts; ++part)
    plan->parts[part] = read_plan(read_object(parts.Get(part), "parts"), shapes[part]);
  if (!absent(from.Get("norms"))) plan->norms = read_norms(read_array(from, "norms"), spec);
  auto outcome = std::make_shared<quantize::BlockOutcome>();
  auto handle = Quantizer::run(
                    env, worker,
                    [layer, plan, outcome](Calibration& calibration, const std::atomic<bool>* abort) {
                      return calibration.block(layer, *plan, abort, outcome.get());
                    },
                    [outcome](Napi::Env own) { return block_object(own, *outcome); })
                    .As<Napi::Object>();
  Quantizer::method(handle, worker, "progress", [](const Napi::CallbackInfo& call, const Handle& own) {
    return Napi::Number::New(call.Env(), own->owned ? own->object().matrices_done.load() : kParts);
  });
  return handle;
}

// ("embedding" | "head", bits, group) => { promise: the matrix, or f16 values for 16 bits; abort() }
Napi::Value table(const Napi::CallbackInfo& info, const Handle& worker) {
  const Napi::Env env = info.Env();
  worker->check_idle(env);
  const bool head = info[0].ToString().Utf8Value() == "head";
  if (head && !worker->object().has_head()) wrong(env, "a model with a head of its own", "table");
  const int bits = take_table_bits(info[1], "bits");
  const long group = take_integer(info[2], "group", 1);
  struct Table {
    quantize::MatrixOutcome matrix;
    std::vector<std::uint16_t> halves;
  };
  auto made = std::make_shared<Table>();
  return Quantizer::run(
      env, worker,
      [head, bits, group, made](Calibration& calibration, const std::atomic<bool>* abort) {
        return calibration.table(head, bits, group, abort, &made->matrix, &made->halves);
      },
      [bits, made](Napi::Env own) -> Napi::Value {
        if (bits == 16) return to_typed<Napi::Uint16Array>(own, made->halves);
        return matrix_object(own, made->matrix);
      });
}

// () => hidden states of all tokens before the next block, [T, hidden]
Napi::Value hidden(const Napi::CallbackInfo& info, const Handle& worker) {
  worker->check_idle(info.Env());
  const Calibration& calibration = worker->object();
  const auto count = static_cast<std::size_t>(calibration.tokens() * calibration.spec().hidden);
  auto array = Napi::Float32Array::New(info.Env(), count);
  std::copy_n(calibration.hidden(), count, array.Data());
  return array;
}

// ({ spec, weights, files, tokens, lengths, threads, beside }) => { promise: Promise<quantizer | null>, abort() }
Napi::Value make_quantizer(const Napi::CallbackInfo& info) {
  const Napi::Object options = read_object(info[0], "options");
  QuantizeSource source = read_quantize_source(options);
  const bool beside = read_flag(options, "beside");
  const Handle worker(
      new Quantizer{std::make_unique<Calibration>(std::move(source.spec), std::move(source.sources), source.effort)});
  auto body = [tokens = std::move(source.tokens), lengths = std::move(source.lengths), beside](
                  Calibration& calibration, const std::atomic<bool>* abort) {
    return calibration.begin(tokens, lengths, beside, abort);
  };
  return Quantizer::run(info.Env(), worker, std::move(body), [worker](Napi::Env own) {
    Napi::Object out = Napi::Object::New(own);
    Quantizer::method(out, worker, "block", block);
    Quantizer::method(out, worker, "table", table);
    Quantizer::method(out, worker, "hidden", hidden);
    Quantizer::disposable(out, worker);
    return out;
  });
}

}  // namespace

void export_quantizer(Napi::Env env, Napi::Object exports) {
  exports.Set("quantizer", Napi::Function::New(env, make_quantizer, "quantizer"));
}

}  // namespace outrider::binding
