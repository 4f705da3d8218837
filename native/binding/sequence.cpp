// The Sequence and Sampler classes.
#include "binding/job.h"
#include "binding/objects.h"
#include "binding/read.h"

namespace outrider::binding {
namespace {

using SharedSequence = std::shared_ptr<Sequence>;

// Snapshot bytes in or out, off the JavaScript thread.
class SnapshotJob final : public PromiseJob {
 public:
  SnapshotJob(Napi::Env env, SharedSequence sequence, std::uint64_t model, std::byte* out)
      : PromiseJob(env), sequence_(std::move(sequence)), model_(model), out_(out) {
    sequence_->busy = true;
  }
  SnapshotJob(Napi::Env env, SharedSequence sequence, std::uint64_t model, const std::byte* in, std::size_t bytes,
              long max_tokens)
      : PromiseJob(env),
        sequence_(std::move(sequence)),
        model_(model),
        in_(in),
        bytes_(bytes),
        max_tokens_(max_tokens) {
    sequence_->busy = true;
  }

 private:
  Result work(Workspace&, bool*) override {
    if (in_ != nullptr) return sequence_->restore(model_, in_, bytes_, max_tokens_);
    sequence_->save(model_, out_);
    return {};
  }
  void release() override { sequence_->busy = false; }
  Napi::Value value(Napi::Env env) override { return Napi::Boolean::New(env, true); }

  SharedSequence sequence_;
  std::uint64_t model_;
  std::byte* out_ = nullptr;
  const std::byte* in_ = nullptr;
  std::size_t bytes_ = 0;
  long max_tokens_ = 0;
};

std::uint64_t read_fingerprint(const Napi::CallbackInfo& info, std::size_t index) {
  if (!info[index].IsBigInt()) wrong(info.Env(), "a bigint", "fingerprint");
  bool lossless = false;
  return info[index].As<Napi::BigInt>().Uint64Value(&lossless);
}

long read_count(const Napi::CallbackInfo& info, std::size_t index, const char* name) {
  const double value = info[index].IsNumber() ? info[index].As<Napi::Number>().DoubleValue() : -1;
  if (!(value >= 0 && value <= 1e12)) wrong(info.Env(), "a non-negative integer", name);
  return static_cast<long>(value);
}

}  // namespace

void SequenceObject::define(Napi::Env env) {
  const Napi::Function type = DefineClass(
      env, "NativeSequence",
      {InstanceAccessor<&SequenceObject::length>("length"), InstanceAccessor<&SequenceObject::bytes>("bytes"),
       InstanceAccessor<&SequenceObject::busy>("busy"), InstanceMethod("truncate", &SequenceObject::truncate),
       InstanceMethod("fork", &SequenceObject::fork), InstanceMethod("commit", &SequenceObject::commit),
       InstanceMethod("save", &SequenceObject::save), InstanceMethod("restore", &SequenceObject::restore),
       InstanceMethod("dispose", &SequenceObject::dispose)});
  Environment::of(env).sequence_class = Napi::Persistent(type);
}

Napi::Value SequenceObject::wrap(Napi::Env env, SharedSequence sequence) {
  return Environment::of(env).sequence_class.New({Napi::External<SharedSequence>::New(env, &sequence)});
}

SequenceObject::SequenceObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<SequenceObject>(info) {
  if (!info[0].IsExternal()) wrong(info.Env(), "a sequence made by a model", "constructor");
  sequence_ = *info[0].As<Napi::External<SharedSequence>>().Data();
}

const SharedSequence& SequenceObject::live(Napi::Env env) const {
  if (sequence_ == nullptr)
    throw_error(env, Status::kDisposed, "Expected a live KV cache, received one that was disposed");
  return sequence_;
}

const SharedSequence& SequenceObject::idle(Napi::Env env) const {
  const SharedSequence& sequence = live(env);
  if (sequence->busy) throw_error(env, Status::kBusy, "Expected a KV cache that no call is using");
  return sequence;
}

Napi::Value SequenceObject::length(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(live(info.Env())->length()));
}

Napi::Value SequenceObject::bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(live(info.Env())->bytes()));
}

Napi::Value SequenceObject::busy(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), live(info.Env())->busy);
}

// (length)
void SequenceObject::truncate(const Napi::CallbackInfo& info) {
  idle(info.Env())->truncate(read_count(info, 0, "length"));
}

Napi::Value SequenceObject::fork(const Napi::CallbackInfo& info) {
  return wrap(info.Env(), SharedSequence(idle(info.Env())->fork()));
}

// (rows: Int32Array)
void SequenceObject::commit(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
    wrong(env, "an Int32Array", "rows");
  const auto rows = info[0].As<Napi::Int32Array>();
  const Status status = idle(env)->commit(rows.Data(), static_cast<long>(rows.ElementLength()));
  if (status != Status::kOk) {
    throw_error(env, status,
                status == Status::kMemory ? "Cannot allocate KV pages"
                                          : "Expected rows to be a path from a root of the last tree");
  }
}

// (fingerprint) => { promise, abort, bytes: Uint8Array }
Napi::Value SequenceObject::save(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const SharedSequence& sequence = idle(env);
  const std::uint64_t model = read_fingerprint(info, 0);
  auto bytes = Napi::Uint8Array::New(env, sequence->snapshot_bytes());
  auto* out = reinterpret_cast<std::byte*>(bytes.Data());
  Napi::Object handle =
      PromiseJob::start(env, Engine::files(), std::make_shared<SnapshotJob>(env, sequence, model, out), bytes);
  handle.Set("bytes", bytes);
  return handle;
}

// (fingerprint, bytes: Uint8Array, max tokens) => { promise, abort }
Napi::Value SequenceObject::restore(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const SharedSequence& sequence = idle(env);
  const std::uint64_t model = read_fingerprint(info, 0);
  if (!info[1].IsTypedArray() || info[1].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    wrong(env, "a Uint8Array", "bytes");
  const auto bytes = info[1].As<Napi::Uint8Array>();
  static constexpr std::byte kNone{};
  const auto* in = bytes.Data() == nullptr ? &kNone : reinterpret_cast<const std::byte*>(bytes.Data());
  return PromiseJob::start(
      env, Engine::files(),
      std::make_shared<SnapshotJob>(env, sequence, model, in, bytes.ElementLength(), read_count(info, 2, "max tokens")),
      bytes);
}

void SequenceObject::dispose(const Napi::CallbackInfo&) { sequence_.reset(); }

void SamplerObject::define(Napi::Env env, Napi::Object exports) {
  const Napi::Function type = DefineClass(env, "NativeSampler", {});
  Environment::of(env).sampler_class = Napi::Persistent(type);
  exports.Set("NativeSampler", type);
}

// ({ vocab, temperature, topK, topP, minP, typicalP, repetitionPenalty, frequencyPenalty, presencePenalty, seed:
// bigint,
//    history: Int32Array, penaltyWindow, biasIds: Int32Array, bias: Float32Array, suppressed: Int32Array,
//    suppressedEarly: Int32Array, minPosition })
SamplerObject::SamplerObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<SamplerObject>(info), sampler_(std::make_shared<Sampler>()) {
  const Napi::Env env = info.Env();
  const Napi::Object from = read_object(info[0], "options");
  Sampler& s = *sampler_;
  const auto number = [&from](const char* name) { return static_cast<float>(read_number(from, name)); };
  s.params.temperature = number("temperature");
  s.params.top_k = static_cast<std::int32_t>(read_integer(from, "topK"));
  s.params.top_p = number("topP");
  s.params.min_p = number("minP");
  s.params.typical_p = number("typicalP");
  s.params.repetition = number("repetitionPenalty");
  s.params.frequency = number("frequencyPenalty");
  s.params.presence = number("presencePenalty");
  const Napi::Value seed = from.Get("seed");
  if (!seed.IsBigInt()) wrong(env, "a bigint", "seed");
  bool lossless = false;
  s.params.seed = seed.As<Napi::BigInt>().Uint64Value(&lossless);
  s.history = read_typed<std::int32_t>(from, "history", napi_int32_array);
  s.penalty_window = read_integer(from, "penaltyWindow", 0);
  s.bias_ids = read_typed<std::int32_t>(from, "biasIds", napi_int32_array);
  s.bias = read_typed<float>(from, "bias", napi_float32_array);
  s.suppressed = read_typed<std::int32_t>(from, "suppressed", napi_int32_array);
  s.suppressed_early = read_typed<std::int32_t>(from, "suppressedEarly", napi_int32_array);
  s.min_position = read_integer(from, "minPosition", 0);
  const long vocab = s.vocab = read_integer(from, "vocab");
  const auto known = [vocab](const std::vector<std::int32_t>& ids) {
    for (const std::int32_t id : ids) {
      if (id < 0 || id >= vocab) return false;
    }
    return true;
  };
  if (!known(s.bias_ids) || !known(s.suppressed) || !known(s.suppressed_early) || s.bias_ids.size() != s.bias.size()) {
    wrong(env, "token ids within the vocabulary", "bias and suppressed tokens");
  }
}

void export_sequence(Napi::Env env, Napi::Object exports) {
  SequenceObject::define(env);
  SamplerObject::define(env, exports);
}

}  // namespace outrider::binding
