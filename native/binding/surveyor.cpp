// surveyor(): what each matrix of a model costs at each number of bits.
#include <napi.h>

#include "binding/args.h"
#include "binding/quantize_io.h"
#include "binding/worker.h"
#include "quantize/survey.h"

namespace outrider::binding {
namespace {

using quantize::kParts;
using quantize::Survey;
using Surveyor = Worker<Survey>;

// (options: [{ bits, group }]) => { promise: costs of the last block that is left, [part][option], abort() }
Napi::Value block(const Napi::CallbackInfo& info, const Surveyor::Handle& worker) {
  const Napi::Env env = info.Env();
  worker->check_idle(env);
  if (worker->object().blocks_left() < 1) throw_error(env, Status::kArgument, "Expected a block that is left");
  if (!info[0].IsArray()) wrong(env, "an array", "options");
  const auto list = info[0].As<Napi::Array>();
  std::vector<quantize::SurveyOption> options;
  for (std::uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object from = read_object(list.Get(i), "options");
    const long group = read_integer(from, "group");
    if (group < 1) wrong(env, "a positive integer", "group");
    options.push_back({read_bits(from, false), group});
  }
  auto costs = std::make_shared<std::array<std::vector<double>, kParts>>();
  return Surveyor::run(
      env, worker,
      [options = std::move(options), costs](Survey& survey, const std::atomic<bool>* abort) {
        return survey.block(options, abort, costs.get());
      },
      [costs](Napi::Env own) {
        Napi::Array out = Napi::Array::New(own);
        for (std::uint32_t part = 0; part < kParts; ++part)
          out.Set(part, to_typed<Napi::Float64Array>(own, (*costs)[part]));
        return out;
      });
}

// ({ spec, weights, files, tokens, lengths, threads, seed }) => { promise: Promise<surveyor | null>, abort() }
Napi::Value make_surveyor(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object from = read_object(info[0], "options");
  QuantizeSource source = read_quantize_source(from);
  const auto seed = static_cast<std::uint64_t>(take_integer(from.Get("seed"), "seed"));
  const Surveyor::Handle worker(
      new Surveyor{std::make_unique<Survey>(std::move(source.spec), std::move(source.sources), source.effort)});
  auto body = [tokens = std::move(source.tokens), lengths = std::move(source.lengths), seed](
                  Survey& survey, const std::atomic<bool>* abort) {
    return survey.begin(tokens, lengths, seed, abort);
  };
  return Surveyor::run(env, worker, std::move(body), [worker](Napi::Env own) {
    Napi::Object out = Napi::Object::New(own);
    Surveyor::method(out, worker, "block", block);
    Surveyor::disposable(out, worker);
    return out;
  });
}

}  // namespace

void export_surveyor(Napi::Env env, Napi::Object exports) {
  exports.Set("surveyor", Napi::Function::New(env, make_surveyor, "surveyor"));
}

}  // namespace outrider::binding
