// The Sequence and Sampler classes.
#include <cmath>
#include <cstring>

#include "binding/job.h"
#include "binding/memory.h"
#include "binding/objects.h"
#include "binding/read.h"
#include "binding/tagged.h"

namespace outrider::binding {
namespace {

using SharedSequence = std::shared_ptr<Sequence>;

// A snapshot out, off the JavaScript thread.
class SaveJob final : public PromiseJob {
 public:
  SaveJob(Napi::Env env, SharedSequence sequence, std::uint64_t model, Buffer out)
      : PromiseJob(env), sequence_(std::move(sequence)), model_(model), out_(std::move(out)) {}

 private:
  void claim() override { sequence_->busy = true; }
  Result work(Workspace&, bool*) override {
    sequence_->save(model_, out_.data());
    return {};
  }
  void release(bool) override { sequence_->busy = false; }
  Napi::Value value(Napi::Env env) override {
    const std::size_t bytes = out_.size();
    return array_of<std::uint8_t>(env, std::move(out_), bytes);
  }

  SharedSequence sequence_;
  std::uint64_t model_;
  Buffer out_;
};

// A snapshot in.
class RestoreJob final : public PromiseJob {
 public:
  RestoreJob(Napi::Env env, SharedSequence sequence, std::uint64_t model, Buffer in, long max_tokens)
      : PromiseJob(env), sequence_(std::move(sequence)), model_(model), in_(std::move(in)), max_tokens_(max_tokens) {}

 private:
  void claim() override { sequence_->busy = true; }
  Result work(Workspace&, bool*) override { return sequence_->restore(model_, in_.data(), in_.size(), max_tokens_); }
  void release(bool) override {
    sequence_->busy = false;
    in_ = Buffer();
  }
  Napi::Value value(Napi::Env env) override { return Napi::Boolean::New(env, true); }

  SharedSequence sequence_;
  std::uint64_t model_;
  Buffer in_;
  long max_tokens_;
};

std::uint64_t read_fingerprint(const Napi::CallbackInfo& info, std::size_t index) {
  if (!info[index].IsBigInt()) wrong(info.Env(), "a bigint", "fingerprint");
  bool lossless = false;
  return info[index].As<Napi::BigInt>().Uint64Value(&lossless);
}

// Snapshot bytes on their way in, copied piece by piece so that no long copy holds up the event loop.
Buffer& snapshot_bytes(const Napi::Value& value) {
  auto* const bytes = held<Buffer>(value, kSnapshotBytesTag);
  if (bytes == nullptr) wrong(value.Env(), "memory made by snapshotBytes", "bytes");
  return *bytes;
}

long read_count(const Napi::CallbackInfo& info, std::size_t index, const char* name) {
  const double value = info[index].IsNumber() ? info[index].As<Napi::Number>().DoubleValue() : -1;
  if (!(value >= 0 && value <= 1e12)) wrong(info.Env(), "a non-negative integer", name);
  return static_cast<long>(value);
}

// (length) => handle of that many bytes, 0
Napi::Value new_snapshot_bytes(const Napi::CallbackInfo& info) {
  const auto length = static_cast<std::size_t>(read_count(info, 0, "length"));
  auto bytes = std::make_unique<Buffer>(length);
  if (length > 0 && !*bytes) throw_error(info.Env(), Status::kMemory, "Cannot allocate memory for a snapshot");
  return tagged_handle(info.Env(), std::move(bytes), kSnapshotBytesTag);
}

// (handle, offset, Uint8Array)
void write_snapshot_bytes(const Napi::CallbackInfo& info) {
  Buffer& bytes = snapshot_bytes(info[0]);
  const auto offset = static_cast<std::size_t>(read_count(info, 1, "offset"));
  if (!info[2].IsTypedArray() || info[2].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    wrong(info.Env(), "a Uint8Array", "piece");
  const auto piece = info[2].As<Napi::Uint8Array>();
  if (offset > bytes.size() || piece.ElementLength() > bytes.size() - offset)
    wrong(info.Env(), "a piece inside the memory", "piece");
  if (piece.ElementLength() > 0) std::memcpy(bytes.data() + offset, piece.Data(), piece.ElementLength());
}

// { rule: "typical", epsilon, delta } or { rule: "relaxed", top, gap }; absent: no rule.
ops::AcceptParams read_accept(const Napi::Value& value) {
  ops::AcceptParams accept;
  if (absent(value)) return accept;
  const Napi::Object from = read_object(value, "accept");
  const std::string rule = read_string(from, "rule");
  const auto probability = [&from](const char* name) {
    const double number = read_number(from, name);
    if (!(number > 0 && number <= 1)) wrong(from.Env(), "a number above 0 and up to 1", name);
    return number;
  };
  if (rule == "typical") {
    accept.rule = ops::AcceptRule::kTypical;
    accept.epsilon = probability("epsilon");
    accept.delta = probability("delta");
  } else if (rule == "relaxed") {
    accept.rule = ops::AcceptRule::kRelaxed;
    accept.top = read_integer(from, "top");
    accept.gap = read_number(from, "gap");
    if (accept.top < 1) wrong(from.Env(), "a positive integer", "top");
    if (!(accept.gap >= 0 && std::isfinite(accept.gap))) wrong(from.Env(), "a finite number from 0 on", "gap");
  } else {
    wrong(from.Env(), "typical or relaxed", "rule");
  }
  return accept;
}

}  // namespace

void SequenceObject::define(Napi::Env env) {
  const Napi::Function type =
      DefineClass(env, "NativeSequence",
                  // Methods and not accessors: only methods are bound to objects of the class.
                  {InstanceMethod("length", &SequenceObject::length), InstanceMethod("bytes", &SequenceObject::bytes),
                   InstanceMethod("busy", &SequenceObject::busy), InstanceMethod("truncate", &SequenceObject::truncate),
                   InstanceMethod("fork", &SequenceObject::fork), InstanceMethod("commit", &SequenceObject::commit),
                   InstanceMethod("save", &SequenceObject::save), InstanceMethod("restore", &SequenceObject::restore),
                   InstanceMethod("dispose", &SequenceObject::dispose)});
  Environment::of(env).sequence_class = Napi::Persistent(type);
}

Napi::Value SequenceObject::wrap(Napi::Env env, SharedSequence sequence) {
  return Environment::of(env).sequence_class.New({tagged_pointer(env, &sequence, kSequenceTag)});
}

const SequenceObject& SequenceObject::from(const Napi::Value& value) {
  if (!value.IsObject() || !tagged(value, kSequenceTag)) wrong(value.Env(), "a Sequence", "sequences");
  return *Unwrap(value.As<Napi::Object>());
}

SequenceObject::SequenceObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<SequenceObject>(info) {
  const auto* sequence = held<SharedSequence>(info[0], kSequenceTag);
  if (sequence == nullptr) wrong(info.Env(), "a sequence made by a model", "constructor");
  sequence_ = *sequence;
  info.This().As<Napi::Object>().TypeTag(&kSequenceTag);
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

// (rows: Int32Array, sampler?): the sampler's history then grows by the tokens of the rows.
void SequenceObject::commit(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
    wrong(env, "an Int32Array", "rows");
  const auto array = info[0].As<Napi::Int32Array>();
  // A copy: memory that is shared with a worker may change between the check and the use.
  const std::vector<std::int32_t> rows(array.Data(), array.Data() + array.ElementLength());
  const std::shared_ptr<Sampler> sampler = absent(info[1]) ? nullptr : SamplerObject::idle(info[1]);
  const Status status =
      idle(env)->commit(rows.data(), static_cast<long>(rows.size()), sampler == nullptr ? nullptr : &sampler->history);
  if (status != Status::kOk) {
    throw_error(env, status,
                status == Status::kMemory ? "Cannot allocate KV pages"
                                          : "Expected rows to be a path from a root of the last tree");
  }
}

// (fingerprint) => { promise: Promise<Uint8Array>, abort }
Napi::Value SequenceObject::save(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const SharedSequence& sequence = idle(env);
  const std::uint64_t model = read_fingerprint(info, 0);
  Buffer out(sequence->snapshot_bytes());
  if (!out) throw_error(env, Status::kMemory, "Cannot allocate memory for a snapshot");
  return PromiseJob::start(env, Engine::snapshots(), std::make_shared<SaveJob>(env, sequence, model, std::move(out)));
}

// (fingerprint, handle of snapshotBytes, max tokens) => { promise: Promise<true>, abort }. The handle is empty then.
Napi::Value SequenceObject::restore(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const SharedSequence& sequence = idle(env);
  const std::uint64_t model = read_fingerprint(info, 0);
  const long max_tokens = read_count(info, 2, "max tokens");
  return PromiseJob::start(
      env, Engine::snapshots(),
      std::make_shared<RestoreJob>(env, sequence, model, std::move(snapshot_bytes(info[1])), max_tokens));
}

void SequenceObject::dispose(const Napi::CallbackInfo&) { sequence_.reset(); }

void SamplerObject::define(Napi::Env env, Napi::Object exports) {
  const Napi::Function type = DefineClass(env, "NativeSampler", {});
  exports.Set("NativeSampler", type);
}

// ({ vocab, temperature, topK, topP, minP, typicalP, repetitionPenalty, frequencyPenalty, presencePenalty, seed:
// bigint,
//    history: Int32Array, penaltyWindow, biasIds: Int32Array, bias: Float32Array, suppressed: Int32Array,
//    suppressedEarly: Int32Array, minPosition, accept })
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
  s.accept = read_accept(from.Get("accept"));
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
  info.This().As<Napi::Object>().TypeTag(&kSamplerTag);
}

const std::shared_ptr<Sampler>& SamplerObject::idle(const Napi::Value& value) {
  if (!value.IsObject() || !tagged(value, kSamplerTag)) wrong(value.Env(), "a Sampler", "samplers");
  const auto& sampler = Unwrap(value.As<Napi::Object>())->sampler_;
  if (sampler->busy) throw_error(value.Env(), Status::kBusy, "Expected a sampler that no call is using");
  return sampler;
}

void export_sequence(Napi::Env env, Napi::Object exports) {
  SequenceObject::define(env);
  SamplerObject::define(env, exports);
  exports.Set("snapshotBytes", Napi::Function::New(env, new_snapshot_bytes, "snapshotBytes"));
  exports.Set("writeSnapshotBytes", Napi::Function::New(env, write_snapshot_bytes, "writeSnapshotBytes"));
}

}  // namespace outrider::binding
