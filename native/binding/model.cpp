// loadModel() and the Model class: info, new sequences, and run(), the one call per step.
#include "base/thread_pool.h"
#include "binding/job.h"
#include "binding/objects.h"
#include "binding/read.h"
#include "binding/read_model.h"

namespace outrider::binding {
namespace {

using SharedWeights = std::shared_ptr<const Weights>;

class LoadJob final : public PromiseJob {
 public:
  LoadJob(Napi::Env env, DecoderSpec spec, ModelSources sources, std::string key, int threads)
      : PromiseJob(env),
        spec_(std::move(spec)),
        sources_(std::move(sources)),
        key_(std::move(key)),
        threads_(threads) {}

  std::atomic<std::uint64_t> done_bytes{0};

 private:
  Result work(Workspace&, bool*) override {
    return load_weights(spec_, sources_, key_, {threads_, &abort, &done_bytes}, &weights_);
  }
  Napi::Value value(Napi::Env env) override { return ModelObject::wrap(env, std::move(weights_)); }

  DecoderSpec spec_;
  ModelSources sources_;
  std::string key_;
  int threads_;
  SharedWeights weights_;
};

int read_threads(const Napi::Object& from) {
  const long threads = read_integer(from, "threads");
  if (threads < 1 || threads > kMaxThreads) wrong(from.Env(), "1 to 256", "threads");
  return static_cast<int>(threads);
}

// ({ spec, weights, files, key, threads }) => { promise: Promise<Model | null>, abort(), progress(): stored bytes
// packed }
Napi::Value load_model(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object from = read_object(info[0], "options");
  auto job =
      std::make_shared<LoadJob>(env, read_spec(read_object(from.Get("spec"), "spec")),
                                read_sources(read_array(from, "files"), read_object(from.Get("weights"), "weights")),
                                read_string(from, "key"), read_threads(from));
  Napi::Object handle = PromiseJob::start(env, Engine::files(), job, from);
  handle.Set("progress", Napi::Function::New(env, [job](const Napi::CallbackInfo& call) {
               return Napi::Number::New(call.Env(), static_cast<double>(job->done_bytes.load()));
             }));
  return handle;
}

template <typename T, typename JsArray>
Napi::Value typed(Napi::Env env, const std::vector<T>& values) {
  auto array = JsArray::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

class RunJob final : public PromiseJob {
 public:
  RunJob(Napi::Env env, const SharedWeights& weights, Batch batch, float* logits)
      : PromiseJob(env),
        sequences_(batch.sequences),
        forward_(std::make_unique<Forward>(weights, std::move(batch), logits)) {
    for (const auto& sequence : sequences_) sequence->busy = true;
  }

 private:
  Result work(Workspace& workspace, bool* done) override {
    if (!begun_) {
      begun_ = true;
      if (Result begun = forward_->begin(); !begun.ok()) return begun;
    }
    return forward_->step(workspace, abort, done);
  }

  void release() override {
    for (const auto& sequence : sequences_) sequence->busy = false;
    sequences_.clear();
    output_ = std::move(forward_->output());
    forward_.reset();
  }

  Napi::Value value(Napi::Env env) override {
    Napi::Object out = Napi::Object::New(env);
    out.Set("seconds", seconds());
    out.Set("scratchBytes", static_cast<double>(output_.scratch_bytes));
    out.Set("sampled", typed<std::int32_t, Napi::Int32Array>(env, output_.sampled));
    if (!output_.sampled_logprob.empty())
      out.Set("sampledLogprob", typed<float, Napi::Float32Array>(env, output_.sampled_logprob));
    if (!output_.logsumexp.empty()) {
      out.Set("topkIds", typed<std::int32_t, Napi::Int32Array>(env, output_.topk_ids));
      out.Set("topkValues", typed<float, Napi::Float32Array>(env, output_.topk_values));
      out.Set("logsumexp", typed<float, Napi::Float32Array>(env, output_.logsumexp));
    }
    if (!output_.target_logprob.empty())
      out.Set("targetLogprob", typed<float, Napi::Float32Array>(env, output_.target_logprob));
    if (!output_.hidden.empty()) out.Set("hidden", typed<float, Napi::Float32Array>(env, output_.hidden));
    output_ = {};
    return out;
  }

  std::vector<std::shared_ptr<Sequence>> sequences_;
  std::unique_ptr<Forward> forward_;
  BatchOutput output_;
  bool begun_ = false;
};

DType read_kv_type(const Napi::Env& env, const Napi::Value& value) {
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (name == "f32") return DType::kF32;
  if (name == "f16") return DType::kF16;
  if (name == "bf16") return DType::kBF16;
  wrong(env, "f32, f16 or bf16", "KV format");
}

}  // namespace

void ModelObject::define(Napi::Env env) {
  const Napi::Function type =
      DefineClass(env, "NativeModel",
                  {InstanceMethod("info", &ModelObject::info), InstanceMethod("sequence", &ModelObject::sequence),
                   InstanceMethod("run", &ModelObject::run), InstanceMethod("dispose", &ModelObject::dispose)});
  Environment::of(env).model_class = Napi::Persistent(type);
}

Napi::Value ModelObject::wrap(Napi::Env env, SharedWeights weights) {
  return Environment::of(env).model_class.New({Napi::External<SharedWeights>::New(env, &weights)});
}

ModelObject::ModelObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModelObject>(info) {
  if (!info[0].IsExternal()) wrong(info.Env(), "a model made by loadModel", "constructor");
  weights_ = *info[0].As<Napi::External<SharedWeights>>().Data();
}

const SharedWeights& ModelObject::live(Napi::Env env) const {
  if (weights_ == nullptr) throw_error(env, Status::kDisposed, "Expected a live model, received one that was disposed");
  return weights_;
}

void ModelObject::dispose(const Napi::CallbackInfo&) { weights_.reset(); }

Napi::Value ModelObject::info(const Napi::CallbackInfo& info) {
  const SharedWeights& weights = live(info.Env());
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("bytes", static_cast<double>(weights->bytes));
  out.Set("fingerprint", Napi::BigInt::New(info.Env(), weights->fingerprint));
  return out;
}

// (kv: "f16" | "bf16" | "f32") => Sequence
Napi::Value ModelObject::sequence(const Napi::CallbackInfo& info) {
  const DecoderSpec& spec = live(info.Env())->spec;
  const KvShape shape{static_cast<long>(spec.layers.size()), spec.kv_heads, spec.head_dim,
                      read_kv_type(info.Env(), info[0])};
  return SequenceObject::wrap(info.Env(), std::make_shared<Sequence>(shape));
}

// (batch) => { promise: Promise<result | null>, abort() }. lib/model/engine.ts documents the members of batch and
// result.
Napi::Value ModelObject::run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const SharedWeights& weights = live(env);
  const Napi::Object from = read_object(info[0], "batch");
  Batch batch;
  const Napi::Array sequences = read_array(from, "sequences");
  const Napi::Value samplers = from.Get("samplers");
  for (std::uint32_t i = 0; i < sequences.Length(); ++i) {
    const Napi::Object sequence = read_object(sequences.Get(i), "sequences");
    if (!sequence.InstanceOf(Environment::of(env).sequence_class.Value())) wrong(env, "a Sequence", "sequences");
    batch.sequences.push_back(SequenceObject::Unwrap(sequence)->idle(env));
    for (std::uint32_t j = 0; j < i; ++j) {
      if (batch.sequences[j] == batch.sequences[i]) wrong(env, "distinct sequences", "sequences");
    }
    const Napi::Value sampler = absent(samplers) ? env.Undefined() : read_object(samplers, "samplers").Get(i);
    if (absent(sampler)) {
      batch.samplers.push_back(nullptr);
    } else if (sampler.IsObject() &&
               sampler.As<Napi::Object>().InstanceOf(Environment::of(env).sampler_class.Value())) {
      batch.samplers.push_back(SamplerObject::Unwrap(sampler.As<Napi::Object>())->sampler());
    } else {
      wrong(env, "a Sampler or nothing", "samplers");
    }
  }
  batch.token = read_typed<std::int32_t>(from, "tokens", napi_int32_array);
  batch.embeddings = read_typed<float>(from, "embeddings", napi_float32_array);
  batch.sequence = read_typed<std::int32_t>(from, "sequence", napi_int32_array);
  batch.parent = read_typed<std::int32_t>(from, "parents", napi_int32_array);
  batch.wants = read_typed<std::uint8_t>(from, "wants", napi_uint8_array);
  batch.target = read_typed<std::int32_t>(from, "targets", napi_int32_array);
  batch.scratch = read_flag(from, "scratch");
  batch.top_k = read_integer(from, "topK", 0);
  batch.layer_begin = read_integer(from, "layerBegin", 0);
  batch.layer_end = read_integer(from, "layerEnd", static_cast<long>(weights->spec.layers.size()));
  batch.skip_attention = read_typed<std::uint8_t>(from, "skipAttention", napi_uint8_array);
  batch.skip_mlp = read_typed<std::uint8_t>(from, "skipMlp", napi_uint8_array);
  batch.int8 = read_flag(from, "int8");
  batch.threads = read_threads(from);
  batch.level = read_level(from.Get("level"));

  float* logits = nullptr;
  std::size_t logits_rows = 0;
  for (const std::uint8_t wants : batch.wants) logits_rows += (wants & kWantLogits) != 0 ? 1 : 0;
  if (const Napi::Value out = from.Get("logits"); !absent(out)) {
    if (!out.IsTypedArray() || out.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array ||
        out.As<Napi::TypedArray>().ElementLength() != logits_rows * static_cast<std::size_t>(weights->spec.vocab)) {
      wrong(env, "a Float32Array of one vocabulary per row that wants logits", "logits");
    }
    logits = out.As<Napi::Float32Array>().Data();
  }
  return PromiseJob::start(env, Engine::compute(), std::make_shared<RunJob>(env, weights, std::move(batch), logits),
                           from);
}

void export_model(Napi::Env env, Napi::Object exports) {
  ModelObject::define(env);
  exports.Set("loadModel", Napi::Function::New(env, load_model, "loadModel"));
}

}  // namespace outrider::binding
