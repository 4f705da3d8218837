// JavaScript classes around native objects. Handles stay valid after dispose(); using one then throws
// OUTRIDER_DISPOSED.
#pragma once

#include <napi.h>

#include <memory>

#include "model/batch.h"
#include "model/weights.h"

namespace outrider::binding {

// Loaded weights. Created by loadModel.
class ModelObject : public Napi::ObjectWrap<ModelObject> {
 public:
  static void define(Napi::Env env);
  static Napi::Value wrap(Napi::Env env, std::shared_ptr<const Weights> weights);
  explicit ModelObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value info(const Napi::CallbackInfo& info);
  Napi::Value sequence(const Napi::CallbackInfo& info);
  Napi::Value run(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);
  const std::shared_ptr<const Weights>& live(Napi::Env env) const;

  std::shared_ptr<const Weights> weights_;
};

// The KV cache of one sequence.
class SequenceObject : public Napi::ObjectWrap<SequenceObject> {
 public:
  static void define(Napi::Env env);
  static Napi::Value wrap(Napi::Env env, std::shared_ptr<Sequence> sequence);
  explicit SequenceObject(const Napi::CallbackInfo& info);

  // The object behind a value; throws if it is no Sequence.
  static const SequenceObject& from(const Napi::Value& value);
  // The sequence, if it is live and no job has it. Throws otherwise.
  const std::shared_ptr<Sequence>& idle(Napi::Env env) const;

 private:
  Napi::Value length(const Napi::CallbackInfo& info);
  Napi::Value bytes(const Napi::CallbackInfo& info);
  Napi::Value busy(const Napi::CallbackInfo& info);
  void truncate(const Napi::CallbackInfo& info);
  Napi::Value fork(const Napi::CallbackInfo& info);
  void commit(const Napi::CallbackInfo& info);
  Napi::Value save(const Napi::CallbackInfo& info);
  Napi::Value restore(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);
  const std::shared_ptr<Sequence>& live(Napi::Env env) const;

  std::shared_ptr<Sequence> sequence_;
};

// Sampling parameters and history of one generation.
class SamplerObject : public Napi::ObjectWrap<SamplerObject> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit SamplerObject(const Napi::CallbackInfo& info);
  // The sampler behind a value; throws if it is none or if a job has it.
  static const std::shared_ptr<Sampler>& idle(const Napi::Value& value);

 private:
  std::shared_ptr<Sampler> sampler_;
};

// A head that ends drafts.
class StoppingHeadObject : public Napi::ObjectWrap<StoppingHeadObject> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit StoppingHeadObject(const Napi::CallbackInfo& info);
  // The head behind a value; throws if it is none.
  static const std::shared_ptr<const StoppingHead>& from(const Napi::Value& value);

 private:
  Napi::Value acceptance(const Napi::CallbackInfo& info);

  std::shared_ptr<const StoppingHead> head_;
};

}  // namespace outrider::binding
