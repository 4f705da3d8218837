// cpu(), probeBandwidth(), probeInt8Peak(), setErrorClass().
#include <napi.h>

#include "base/profile.h"
#include "base/thread_pool.h"
#include "binding/job.h"
#include "binding/read.h"
#include "cpu/bandwidth.h"
#include "cpu/level.h"
#include "cpu/peak.h"

namespace outrider::binding {
namespace {

Napi::Value cpu(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object out = Napi::Object::New(env);
  out.Set("level", level_name(level_chosen()));
  out.Set("reason", level_reason());
  out.Set("threads", available_threads());
  Napi::Array levels = Napi::Array::New(env);
  for (int i = 0; i < kLevels; ++i) {
    const auto level = static_cast<Level>(i);
    if (level_available(level)) levels.Set(levels.Length(), level_name(level));
  }
  out.Set("levels", levels);
  return out;
}

class ProbeJob final : public PromiseJob {
 public:
  ProbeJob(Napi::Env env, double (*probe)(int), int threads) : PromiseJob(env), probe_(probe), threads_(threads) {}

 private:
  Result work(Workspace&, bool*) override {
    rate_ = probe_(threads_);
    return {};
  }
  Napi::Value value(Napi::Env env) override { return Napi::Number::New(env, rate_); }

  double (*probe_)(int);
  int threads_;
  double rate_ = 0;
};

// (threads) => { promise: Promise<number>, abort }
template <double (*kProbe)(int)>
Napi::Value probe(const Napi::CallbackInfo& info) {
  const double threads = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : 0;
  if (!(threads >= 1 && threads <= kMaxThreads)) wrong(info.Env(), "1 to 256", "threads");
  return PromiseJob::start(info.Env(), Engine::compute(),
                           std::make_shared<ProbeJob>(info.Env(), kProbe, static_cast<int>(threads)));
}

void set_error_class(const Napi::CallbackInfo& info) {
  if (!info[0].IsFunction()) wrong(info.Env(), "a class", "error class");
  Environment::of(info.Env()).error_class = Napi::Persistent(info[0].As<Napi::Function>());
}

// (on)
void set_profile(const Napi::CallbackInfo& info) { Profile::enable(info[0].ToBoolean()); }

// () => { phases: string[], phase: Uint8Array, layer, thread: Int16Array, begin, end: Float64Array in microseconds }:
// the spans recorded since the last call.
Napi::Value take_profile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::vector<ProfileSpan> spans = Profile::take();
  Napi::Object out = Napi::Object::New(env);
  Napi::Array names = Napi::Array::New(env);
  for (int i = 0; i < kPhases; ++i) names.Set(names.Length(), phase_name(static_cast<Phase>(i)));
  auto phase = Napi::Uint8Array::New(env, spans.size());
  auto layer = Napi::Int16Array::New(env, spans.size()), thread = Napi::Int16Array::New(env, spans.size());
  auto begin = Napi::Float64Array::New(env, spans.size()), end = Napi::Float64Array::New(env, spans.size());
  for (std::size_t i = 0; i < spans.size(); ++i) {
    phase.Data()[i] = static_cast<std::uint8_t>(spans[i].phase);
    layer.Data()[i] = spans[i].layer;
    thread.Data()[i] = spans[i].thread;
    begin.Data()[i] = static_cast<double>(spans[i].begin) * 1e-3;
    end.Data()[i] = static_cast<double>(spans[i].end) * 1e-3;
  }
  out.Set("phases", names);
  out.Set("phase", phase);
  out.Set("layer", layer);
  out.Set("thread", thread);
  out.Set("begin", begin);
  out.Set("end", end);
  return out;
}

}  // namespace

void export_machine(Napi::Env env, Napi::Object exports) {
  exports.Set("cpu", Napi::Function::New(env, cpu, "cpu"));
  exports.Set("probeBandwidth", Napi::Function::New(env, probe<probe_bandwidth>, "probeBandwidth"));
  exports.Set("probeInt8Peak", Napi::Function::New(env, probe<probe_int8_peak>, "probeInt8Peak"));
  exports.Set("probeBf16Peak", Napi::Function::New(env, probe<probe_bf16_peak>, "probeBf16Peak"));
  exports.Set("probeF32Peak", Napi::Function::New(env, probe<probe_f32_peak>, "probeF32Peak"));
  exports.Set("setProfile", Napi::Function::New(env, set_profile, "setProfile"));
  exports.Set("takeProfile", Napi::Function::New(env, take_profile, "takeProfile"));
  exports.Set("setErrorClass", Napi::Function::New(env, set_error_class, "setErrorClass"));
}

}  // namespace outrider::binding
