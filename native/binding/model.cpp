// loadModel() and the Model class: info, new sequences, and run(), the one call per step.
#include "base/thread_pool.h"
#include "binding/job.h"
#include "binding/memory.h"
#include "binding/objects.h"
#include "binding/read.h"
#include "binding/read_model.h"
#include "binding/tagged.h"

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
  Napi::Object handle = PromiseJob::start(env, Engine::loading(), job);
  handle.Set("progress", Napi::Function::New(env, [job](const Napi::CallbackInfo& call) {
               return Napi::Number::New(call.Env(), static_cast<double>(job->done_bytes.load()));
             }));
  return handle;
}

class RunJob final : public PromiseJob {
 public:
  RunJob(Napi::Env env, const SharedWeights& weights, Batch batch, const Engine& engine)
      : PromiseJob(env),
        engine_(engine),
        sequences_(batch.sequences),
        samplers_(batch.samplers),
        forward_(std::make_unique<Forward>(weights, std::move(batch))) {}

 private:
  void claim() override { set_busy(true); }

  Result work(Workspace& workspace, bool* done) override {
    if (!begun_) {
      begun_ = true;
      if (Result begun = forward_->begin(); !begun.ok()) return begun;
    }
    return forward_->step(workspace, abort, engine_.others_wait() ? kSharedChunkRows : kChunkRows, done);
  }

  void release(bool ok) override {
    if (ok) {
      output_ = std::move(forward_->output());
    } else {
      forward_->roll_back();
    }
    forward_.reset();
    set_busy(false);
    sequences_.clear();
    samplers_.clear();
  }

  Napi::Value value(Napi::Env env) override {
    Napi::Object out = Napi::Object::New(env);
    out.Set("seconds", seconds());
    out.Set("kernelSeconds", output_.kernel_seconds);
    out.Set("scratchBytes", static_cast<double>(output_.scratch_bytes));
    out.Set("sampled", array_of(env, output_.sampled));
    const auto wanted = [&](const char* name, auto& column) {
      if (!column.empty()) out.Set(name, array_of(env, column));
    };
    wanted("sampledLogprob", output_.sampled_logprob);
    wanted("acceptance", output_.acceptance);
    wanted("topkIds", output_.topk_ids);
    wanted("topkValues", output_.topk_values);
    wanted("logsumexp", output_.logsumexp);
    wanted("targetLogprob", output_.target_logprob);
    wanted("bestIds", output_.best_ids);
    wanted("drawIds", output_.draw_ids);
    wanted("drawLogq", output_.draw_logq);
    wanted("drawValues", output_.draw_values);
    wanted("walk", output_.walk);
    wanted("walked", output_.walked);
    wanted("byRule", output_.by_rule);
    wanted("steps", output_.steps);
    wanted("proposed", output_.proposed);
    wanted("hidden", output_.hidden);
    wanted("logits", output_.logits);
    return out;
  }

  void set_busy(bool busy) {
    for (const auto& sequence : sequences_) sequence->busy = busy;
    for (const auto& sampler : samplers_) {
      if (sampler != nullptr) sampler->busy = busy;
    }
  }

  const Engine& engine_;  // the one it runs on
  std::vector<std::shared_ptr<Sequence>> sequences_;
  std::vector<std::shared_ptr<Sampler>> samplers_;
  std::unique_ptr<Forward> forward_;
  BatchOutput output_;
  bool begun_ = false;
};

}  // namespace

void ModelObject::define(Napi::Env env) {
  const Napi::Function type =
      DefineClass(env, "NativeModel",
                  {InstanceMethod("info", &ModelObject::info), InstanceMethod("sequence", &ModelObject::sequence),
                   InstanceMethod("run", &ModelObject::run), InstanceMethod("dispose", &ModelObject::dispose)});
  Environment::of(env).model_class = Napi::Persistent(type);
}

Napi::Value ModelObject::wrap(Napi::Env env, SharedWeights weights) {
  return Environment::of(env).model_class.New({tagged_pointer(env, &weights, kModelTag)});
}

ModelObject::ModelObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModelObject>(info) {
  const auto* weights = held<SharedWeights>(info[0], kModelTag);
  if (weights == nullptr) wrong(info.Env(), "a model made by loadModel", "constructor");
  weights_ = *weights;
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
                      read_float_type(info[0], "KV format")};
  return SequenceObject::wrap(info.Env(), std::make_shared<Sequence>(shape));
}

// (batch) => { promise: Promise<result | null>, abort() }. lib/model/engine.ts documents the members of batch and
// result.
Napi::Value ModelObject::run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const SharedWeights weights = live(env);  // a copy: reading the batch may run JavaScript that disposes the model
  const Napi::Object from = read_object(info[0], "batch");
  Batch batch;
  const Napi::Array sequences = read_array(from, "sequences");
  const Napi::Value samplers = from.Get("samplers");
  for (std::uint32_t i = 0; i < sequences.Length(); ++i) {
    batch.sequences.push_back(SequenceObject::from(sequences.Get(i)).idle(env));
    const Napi::Value sampler = absent(samplers) ? env.Undefined() : read_object(samplers, "samplers").Get(i);
    batch.samplers.push_back(absent(sampler) ? nullptr : SamplerObject::idle(sampler));
    for (std::uint32_t j = 0; j < i; ++j) {
      if (batch.sequences[j] == batch.sequences[i]) wrong(env, "distinct sequences", "sequences");
      if (batch.samplers[i] != nullptr && batch.samplers[j] == batch.samplers[i])
        wrong(env, "distinct samplers", "samplers");
    }
  }
  batch.token = read_typed<std::int32_t>(from, "tokens", napi_int32_array);
  batch.embeddings = read_typed<float>(from, "embeddings", napi_float32_array);
  batch.mix = read_typed<std::int32_t>(from, "mix", napi_int32_array);
  batch.mix_weights = read_typed<float>(from, "mixWeights", napi_float32_array);
  batch.sequence = read_typed<std::int32_t>(from, "sequence", napi_int32_array);
  batch.parent = read_typed<std::int32_t>(from, "parents", napi_int32_array);
  batch.wants = read_typed<std::uint8_t>(from, "wants", napi_uint8_array);
  batch.target = read_typed<std::int32_t>(from, "targets", napi_int32_array);
  batch.scratch = read_flag(from, "scratch");
  batch.continues = read_flag(from, "continues");
  batch.repeat = read_integer(from, "repeat", 1);
  batch.least_confidence = read_number(from, "leastConfidence", 0);
  if (const Napi::Value stop = from.Get("stop"); !absent(stop)) batch.stop = StoppingHeadObject::from(stop);
  batch.stop_at = read_number(from, "stopAt", 1);
  batch.copies = read_typed<std::int32_t>(from, "copies", napi_int32_array);
  batch.most_tokens = read_integer(from, "mostTokens", 0);
  batch.most_seconds = read_number(from, "mostSeconds", 0);
  batch.ends = read_typed<std::int32_t>(from, "ends", napi_int32_array);
  batch.top_k = read_integer(from, "topK", 0);
  batch.verify = read_flag(from, "verify");
  batch.best_k = read_integer(from, "bestK", 0);
  batch.draws_k = read_integer(from, "drawsK", 0);
  batch.layer_begin = read_integer(from, "layerBegin", 0);
  batch.layer_end = read_integer(from, "layerEnd", static_cast<long>(weights->spec.layers.size()));
  batch.skip_attention = read_typed<std::uint8_t>(from, "skipAttention", napi_uint8_array);
  batch.skip_mlp = read_typed<std::uint8_t>(from, "skipMlp", napi_uint8_array);
  batch.rounded = read_flag(from, "rounded");
  batch.threads = read_threads(from);
  Engine& engine = read_flag(from, "beside") ? Engine::beside() : Engine::compute();
  batch.level = read_level(from.Get("level"));
  // Reading the members may have run JavaScript, and that may have started a job.
  for (const auto& sequence : batch.sequences) {
    if (sequence->busy) throw_error(env, Status::kBusy, "Expected KV caches that no call is using");
  }
  for (const auto& sampler : batch.samplers) {
    if (sampler != nullptr && sampler->busy) throw_error(env, Status::kBusy, "Expected samplers that no call is using");
  }
  return PromiseJob::start(env, engine, std::make_shared<RunJob>(env, weights, std::move(batch), engine));
}

void export_model(Napi::Env env, Napi::Object exports) {
  ModelObject::define(env);
  exports.Set("loadModel", Napi::Function::New(env, load_model, "loadModel"));
}

}  // namespace outrider::binding
