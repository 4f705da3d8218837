// distiller(): end-to-end distillation of a quantised model, one step a call, on the loading engine.
#include <napi.h>

#include "binding/args.h"
#include "binding/objects.h"
#include "binding/quantize_io.h"
#include "binding/worker.h"
#include "quantize/distillation.h"

namespace outrider::binding {
namespace {

using quantize::Distillation;
using quantize::Factors;
using quantize::kParts;
using Distiller = Worker<Distillation>;
using Handle = Distiller::Handle;

Napi::Value yes(Napi::Env env) { return Napi::Boolean::New(env, true); }

// Runs `body` for a loss.
template <typename Inner>
Napi::Value run_loss(Napi::Env env, const Handle& worker, Inner inner) {
  auto loss = std::make_shared<double>(0);
  return Distiller::run(
      env, worker,
      [inner, loss](Distillation& distillation, const std::atomic<bool>* abort) {
        return inner(distillation, abort, loss.get());
      },
      [loss](Napi::Env own) { return Napi::Number::New(own, *loss); });
}

// ({ parts: codes and grids of q, k, v, o, gate, up, down; norms }) => { promise: true, abort() }
Napi::Value add_block(const Napi::CallbackInfo& info, const Handle& worker) {
  const Napi::Env env = info.Env();
  worker->check_idle(env);
  const DecoderSpec& spec = worker->object().spec();
  if (worker->object().blocks() >= static_cast<long>(spec.layers.size()))
    throw_error(env, Status::kArgument, "Expected no more blocks than the model has");
  const Napi::Object from = read_object(info[0], "block");
  const Napi::Array parts = read_array(from, "parts");
  const auto shapes = quantize::part_shapes(spec);
  auto matrices = std::make_shared<std::array<quantize::StoredMatrix, kParts>>();
  for (std::uint32_t part = 0; part < kParts; ++part)
    (*matrices)[part] = read_stored(read_object(parts.Get(part), "parts"), shapes[part]);
  std::vector<std::vector<float>> norms;
  if (!absent(from.Get("norms"))) norms = read_norms(read_array(from, "norms"), spec);
  return Distiller::run(
      env, worker,
      [matrices, norms = std::move(norms)](Distillation& distillation, const std::atomic<bool>* abort) {
        return distillation.block(std::move(*matrices), norms, abort);
      },
      yes);
}

// (sequence) => { promise: { loss, blocks: [{ scale, middle: of each part, norms }], finalNorm }, abort() }, for tests
Napi::Value gradients(const Napi::CallbackInfo& info, const Handle& worker) {
  const Napi::Env env = info.Env();
  worker->check_idle(env);
  const long sequence = take_integer(info[0], "sequence", 0, static_cast<long>(worker->object().sequences()) - 1);
  auto loss = std::make_shared<double>(0);
  return Distiller::run(
      env, worker,
      [sequence, loss](Distillation& distillation, const std::atomic<bool>* abort) {
        return distillation.gradients(static_cast<std::size_t>(sequence), abort, loss.get());
      },
      [worker, loss](Napi::Env own) {
        const Distillation& distillation = worker->object();
        Napi::Array blocks = Napi::Array::New(own);
        for (long layer = 0; layer < distillation.blocks(); ++layer) {
          Napi::Array scale = Napi::Array::New(own), middle = Napi::Array::New(own);
          for (int part = 0; part < kParts; ++part) {
            const auto at = static_cast<std::uint32_t>(part);
            scale.Set(at, to_typed<Napi::Float32Array>(own, distillation.trainer(layer).d_scale(part)));
            middle.Set(at, to_typed<Napi::Float32Array>(own, distillation.trainer(layer).d_middle(part)));
          }
          std::vector<const std::vector<float>*> norms;
          for (const auto& norm : distillation.norm_gradients(layer)) norms.push_back(&norm);
          Napi::Object block = Napi::Object::New(own);
          block.Set("scale", scale);
          block.Set("middle", middle);
          block.Set("norms", norms_array(own, norms));
          blocks.Set(static_cast<std::uint32_t>(layer), block);
        }
        Napi::Object out = Napi::Object::New(own);
        out.Set("loss", *loss);
        out.Set("blocks", blocks);
        out.Set("finalNorm", to_typed<Napi::Float32Array>(own, distillation.final_norm_gradient()));
        return out;
      });
}

// (layer) => { parts: [{ scale, zero }], norms }
Napi::Value take(const Napi::CallbackInfo& info, const Handle& worker) {
  const Napi::Env env = info.Env();
  worker->check_idle(env);
  Distillation& distillation = worker->object();
  const long layer = take_integer(info[0], "layer", 0, distillation.blocks() - 1);
  Napi::Array parts = Napi::Array::New(env);
  for (int part = 0; part < kParts; ++part) {
    const quantize::Grid& grid = distillation.matrix(layer, part).grid;
    Napi::Object matrix = Napi::Object::New(env);
    matrix.Set("scale", to_f16_array(env, grid.scale));
    matrix.Set("zero", to_f16_array(env, grid.zero));
    parts.Set(static_cast<std::uint32_t>(part), matrix);
  }
  const quantize::Norms norms = distillation.norms(layer);
  Napi::Object out = Napi::Object::New(env);
  out.Set("parts", parts);
  out.Set("norms", norms_array(env, {norms.begin(), norms.end()}));
  return out;
}

// () => what restore() takes: all values in training and their moments
Napi::Value state(const Napi::CallbackInfo& info, const Handle& worker) {
  const Napi::Env env = info.Env();
  worker->check_idle(env);
  const auto all = worker->object().state();
  std::size_t count = 0;
  for (const std::vector<float>* values : all) count += values->size();
  auto array = Napi::Float32Array::New(env, count);
  float* to = array.Data();
  for (const std::vector<float>* values : all) to = std::copy(values->begin(), values->end(), to);
  return array;
}

// (state, steps done)
Napi::Value restore(const Napi::CallbackInfo& info, const Handle& worker) {
  const Napi::Env env = info.Env();
  worker->check_idle(env);
  const auto all = worker->object().state();
  long count = 0;
  for (const std::vector<float>* values : all) count += static_cast<long>(values->size());
  const auto from = copy_array<float>(info[0], count, "state");
  const long steps = take_integer(info[1], "steps", 0);
  auto at = from.begin();
  for (std::vector<float>* values : all) {
    std::copy_n(at, values->size(), values->begin());
    at += static_cast<long>(values->size());
  }
  worker->object().restored(steps);
  return env.Undefined();
}

Napi::Value wrap(Napi::Env env, const Handle& worker) {
  Napi::Object out = Napi::Object::New(env);
  const auto method = [&](const char* name, auto body) { Distiller::method(out, worker, name, body); };
  method("block", add_block);
  method("ready", [](const Napi::CallbackInfo& info, const Handle& own) {
    return Distiller::run(
        info.Env(), own, [](Distillation& d, const std::atomic<bool>*) { return d.ready(); }, yes);
  });
  method("step", [](const Napi::CallbackInfo& info, const Handle& own) {
    const Factors factors = info[0].ToBoolean().Value() ? Factors::kBF16 : Factors::kF32;
    return run_loss(info.Env(), own, [factors](Distillation& d, const std::atomic<bool>* abort, double* loss) {
      return d.step(factors, abort, loss);
    });
  });
  method("divergence", [](const Napi::CallbackInfo& info, const Handle& own) {
    const long most = take_integer(info[0], "most", 1);
    return run_loss(info.Env(), own, [most](Distillation& d, const std::atomic<bool>* abort, double* loss) {
      return d.divergence(static_cast<std::size_t>(most), abort, loss);
    });
  });
  method("gradients", gradients);
  method("round", [](const Napi::CallbackInfo& info, const Handle& own) {
    own->check_idle(info.Env());
    own->object().round();
    return info.Env().Undefined();
  });
  method("take", take);
  method("finalNorm", [](const Napi::CallbackInfo& info, const Handle& own) {
    own->check_idle(info.Env());
    return to_typed<Napi::Float32Array>(info.Env(), own->object().final_norm());
  });
  method("state", state);
  method("restore", restore);
  Distiller::disposable(out, worker);
  return out;
}

// ({ spec, weights, files, tokens, lengths, threads, tableBits, tableGroup, seed, rate, steps })
//   => { promise: Promise<distiller | null>, abort() }
Napi::Value make_distiller(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object from = read_object(info[0], "options");
  QuantizeSource source = read_quantize_source(from);
  quantize::DistillationOptions options;
  options.seed = static_cast<std::uint64_t>(take_integer(from.Get("seed"), "seed"));
  options.rate = static_cast<double>(take_float(from.Get("rate"), "rate"));
  options.steps = take_integer(from.Get("steps"), "steps", 1);
  const int bits = take_table_bits(from.Get("tableBits"), "tableBits");
  const long group = take_integer(from.Get("tableGroup"), "tableGroup", 1);
  const Handle worker(new Distiller{
      std::make_unique<Distillation>(std::move(source.spec), std::move(source.sources), source.effort, options)});
  auto body = [tokens = std::move(source.tokens), lengths = std::move(source.lengths), bits, group](
                  Distillation& distillation, const std::atomic<bool>* abort) {
    return distillation.begin(tokens, lengths, bits, group, abort);
  };
  return Distiller::run(env, worker, std::move(body), [worker](Napi::Env own) { return wrap(own, worker); });
}

}  // namespace

void export_distiller(Napi::Env env, Napi::Object exports) {
  exports.Set("distiller", Napi::Function::New(env, make_distiller, "distiller"));
}

}  // namespace outrider::binding
