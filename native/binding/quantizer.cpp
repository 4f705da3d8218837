// quantizer(): a model's blocks to few bits, one call each, on the loading engine.
#include <napi.h>

#include <algorithm>

#include "base/half.h"
#include "base/thread_pool.h"
#include "binding/args.h"
#include "binding/job.h"
#include "binding/objects.h"
#include "binding/read.h"
#include "binding/read_model.h"
#include "quantize/calibration.h"
#include "quantize/codes.h"

namespace outrider::binding {
namespace {

using quantize::Calibration;
using quantize::kParts;
using Shared = std::shared_ptr<Calibration>;

template <typename T, typename Array>
Napi::Value copy_to(Napi::Env env, const std::vector<T>& values) {
  auto array = Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

std::vector<std::uint16_t> to_f16(const std::vector<float>& values) {
  std::vector<std::uint16_t> bits(values.size());
  std::transform(values.begin(), values.end(), bits.begin(), f32_to_f16);
  return bits;
}

quantize::MatrixPlan read_plan(const Napi::Value& value) {
  const Napi::Object from = read_object(value, "plans");
  const Napi::Env env = from.Env();
  quantize::MatrixPlan plan;
  plan.bits = static_cast<int>(read_integer(from, "bits"));
  if (plan.bits != 2 && plan.bits != 3 && plan.bits != 4 && plan.bits != 8 && plan.bits != 16)
    wrong(env, "2, 3, 4, 8 or 16", "bits");
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
  return plan;
}

// Codes, scales and zeros of an earlier run, in place of a method.
void read_earlier(const Napi::Object& from, long M, long d, quantize::MatrixPlan* plan) {
  const Napi::Env env = from.Env();
  quantize::Shape s{M, d, std::min(plan->group, d), 0, plan->bits, false};
  s.G = (s.d + s.group - 1) / s.group;
  const auto codes = read_typed<std::uint8_t>(from, "codes", napi_uint8_array);
  const auto scale = read_typed<std::uint16_t>(from, "scale", napi_uint16_array);
  const auto zero = read_typed<std::uint16_t>(from, "zero", napi_uint16_array);
  const auto parameters = static_cast<std::size_t>(s.M * s.G);
  if (codes.size() != static_cast<std::size_t>(s.M * quantize::code_row_bytes(s)) || scale.size() != parameters ||
      zero.size() != parameters) {
    throw_error(env, Status::kShape, "Expected codes, scales and zeros of the matrix's shape for plans");
  }
  plan->q.resize(static_cast<std::size_t>(s.M * s.d));
  if (!quantize::read_codes(s, codes.data(), plan->q.data())) wrong(env, "codes of the plan's bits", "plans");
  plan->scale.resize(parameters);
  plan->zero.resize(parameters);
  std::transform(scale.begin(), scale.end(), plan->scale.begin(), f16_to_f32);
  std::transform(zero.begin(), zero.end(), plan->zero.begin(), f16_to_f32);
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
  matrix.Set("scale", copy_to<std::uint16_t, Napi::Uint16Array>(env, to_f16(from.grid.scale)));
  matrix.Set("zero", copy_to<std::uint16_t, Napi::Uint16Array>(env, to_f16(from.grid.zero)));
  matrix.Set("loss", from.loss);
  matrix.Set("rounded", from.rounded);
  return matrix;
}

class TableJob final : public PromiseJob {
 public:
  TableJob(Napi::Env env, Shared calibration, bool head, int bits, long group, std::shared_ptr<bool> busy)
      : PromiseJob(env),
        calibration_(std::move(calibration)),
        head_(head),
        bits_(bits),
        group_(group),
        busy_(std::move(busy)) {}

 private:
  void claim() override { *busy_ = true; }
  Result work(Workspace&, bool*) override {
    return calibration_->table(head_, bits_, group_, &abort, &outcome_, &halves_);
  }
  void release(bool) override { *busy_ = false; }
  Napi::Value value(Napi::Env env) override {
    if (bits_ == 16) return copy_to<std::uint16_t, Napi::Uint16Array>(env, halves_);
    return matrix_object(env, outcome_);
  }

  Shared calibration_;
  bool head_;
  int bits_;
  long group_;
  quantize::MatrixOutcome outcome_;
  std::vector<std::uint16_t> halves_;
  std::shared_ptr<bool> busy_;
};

class BlockJob final : public PromiseJob {
 public:
  BlockJob(Napi::Env env, Shared calibration, long layer, quantize::BlockPlan plan, std::shared_ptr<bool> busy)
      : PromiseJob(env),
        calibration_(std::move(calibration)),
        layer_(layer),
        plan_(std::move(plan)),
        busy_(std::move(busy)) {}

 private:
  void claim() override { *busy_ = true; }
  Result work(Workspace&, bool*) override { return calibration_->block(layer_, plan_, &abort, &outcome_); }
  void release(bool) override { *busy_ = false; }
  Napi::Value value(Napi::Env env) override {
    Napi::Array parts = Napi::Array::New(env, kParts);
    for (int part = 0; part < kParts; ++part) {
      const quantize::MatrixOutcome& from = outcome_.parts[static_cast<std::size_t>(part)];
      if (!from.q.empty()) parts.Set(static_cast<std::uint32_t>(part), matrix_object(env, from));
    }
    Napi::Object out = Napi::Object::New(env);
    out.Set("parts", parts);
    if (!outcome_.minimised) return out;
    out.Set("errorBefore", outcome_.error.before);
    out.Set("errorAfter", outcome_.error.after);
    Napi::Array norms = Napi::Array::New(env, outcome_.norms.size());
    for (std::size_t i = 0; i < outcome_.norms.size(); ++i)
      norms.Set(static_cast<std::uint32_t>(i), copy_to<float, Napi::Float32Array>(env, outcome_.norms[i]));
    out.Set("norms", norms);
    return out;
  }

  Shared calibration_;
  long layer_;
  quantize::BlockPlan plan_;
  quantize::BlockOutcome outcome_;
  std::shared_ptr<bool> busy_;
};

Napi::Value wrap(Napi::Env env, const Shared& calibration) {
  Napi::Object out = Napi::Object::New(env);
  auto busy = std::make_shared<bool>(false);
  // ({ parts: plans of q, k, v, o, gate, up, down; epochs, rate, seed, norms }) => { promise, abort(), progress() }
  out.Set("block", Napi::Function::New(env, [calibration, busy](const Napi::CallbackInfo& info) -> Napi::Value {
            const Napi::Env env = info.Env();
            const DecoderSpec& spec = calibration->spec();
            const long layer = calibration->next_layer();
            if (*busy) throw_error(env, Status::kBusy, "Expected one block at a time");
            if (layer >= static_cast<long>(spec.layers.size()))
              throw_error(env, Status::kArgument, "Expected no more blocks than the model has");
            const Napi::Object from = read_object(info[0], "plan");
            const Napi::Array parts = read_array(from, "parts");
            quantize::BlockPlan block;
            block.epochs = static_cast<int>(take_integer(from.Get("epochs"), "epochs", 0, 1000));
            block.rate = static_cast<double>(take_float(from.Get("rate"), "rate"));
            block.seed = static_cast<std::uint64_t>(take_integer(from.Get("seed"), "seed"));
            const long q = spec.heads * spec.head_dim, kv = spec.kv_heads * spec.head_dim;
            const long shapes[kParts][2] = {{q, spec.hidden},       {kv, spec.hidden},       {kv, spec.hidden},
                                            {spec.hidden, q},       {spec.ffn, spec.hidden}, {spec.ffn, spec.hidden},
                                            {spec.hidden, spec.ffn}};
            for (std::uint32_t part = 0; part < kParts; ++part) {
              const Napi::Value plan = parts.Get(part);
              block.parts[part] = read_plan(plan);
              const Napi::Object object = read_object(plan, "plans");
              if (block.parts[part].bits != 16 && !absent(object.Get("codes")))
                read_earlier(object, shapes[part][0], shapes[part][1], &block.parts[part]);
            }
            if (!absent(from.Get("norms"))) {
              const Napi::Array norms = read_array(from, "norms");
              const std::size_t head = spec.qk_norm == QkNorm::kHead ? static_cast<std::size_t>(spec.head_dim) : 0;
              const std::size_t sizes[] = {static_cast<std::size_t>(spec.hidden), static_cast<std::size_t>(spec.hidden),
                                           head, head};
              for (std::uint32_t i = 0; i < 4; ++i) {
                block.norms.push_back(copy_array<float>(norms.Get(i), static_cast<long>(sizes[i]), "norms"));
              }
            }
            auto job = std::make_shared<BlockJob>(env, calibration, layer, std::move(block), busy);
            Napi::Object handle = PromiseJob::start(env, Engine::loading(), job);
            handle.Set("progress", Napi::Function::New(env, [calibration](const Napi::CallbackInfo& call) {
                         return Napi::Number::New(call.Env(), calibration->matrices_done.load());
                       }));
            return handle;
          }));
  // ("embedding" | "head", bits, group) => { promise: the matrix, or f16 values for 16 bits; abort() }
  out.Set("table", Napi::Function::New(env, [calibration, busy](const Napi::CallbackInfo& info) -> Napi::Value {
            const Napi::Env env = info.Env();
            if (*busy) throw_error(env, Status::kBusy, "Expected no block in work");
            const bool head = info[0].ToString().Utf8Value() == "head";
            if (head && !calibration->has_head()) wrong(env, "a model with a head of its own", "table");
            const auto bits = static_cast<int>(take_integer(info[1], "bits", 4, 16));
            if (bits != 4 && bits != 8 && bits != 16) wrong(env, "4, 8 or 16", "bits");
            const long group = take_integer(info[2], "group", 1);
            return PromiseJob::start(env, Engine::loading(),
                                     std::make_shared<TableJob>(env, calibration, head, bits, group, busy));
          }));
  // () => hidden states of all tokens before the next block, [T, hidden]
  out.Set("hidden", Napi::Function::New(env, [calibration, busy](const Napi::CallbackInfo& info) -> Napi::Value {
            if (*busy) throw_error(info.Env(), Status::kBusy, "Expected no block in work");
            const auto count = static_cast<std::size_t>(calibration->tokens() * calibration->spec().hidden);
            auto array = Napi::Float32Array::New(info.Env(), count);
            std::copy_n(calibration->hidden(), count, array.Data());
            return array;
          }));
  return out;
}

class BeginJob final : public PromiseJob {
 public:
  BeginJob(Napi::Env env, Shared calibration, std::vector<std::int32_t> tokens, std::vector<long> lengths)
      : PromiseJob(env),
        calibration_(std::move(calibration)),
        tokens_(std::move(tokens)),
        lengths_(std::move(lengths)) {}

 private:
  Result work(Workspace&, bool*) override { return calibration_->begin(tokens_, lengths_, &abort); }
  Napi::Value value(Napi::Env env) override { return wrap(env, calibration_); }

  Shared calibration_;
  std::vector<std::int32_t> tokens_;
  std::vector<long> lengths_;
};

// ({ spec, weights, files, tokens, lengths, threads }) => { promise: Promise<quantizer | null>, abort() }
Napi::Value make_quantizer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object from = read_object(info[0], "options");
  DecoderSpec spec = read_spec(read_object(from.Get("spec"), "spec"));
  ModelSources sources = read_sources(read_array(from, "files"), read_object(from.Get("weights"), "weights"));
  throw_if(env, check_spec(spec, sources.layers.size()));
  auto tokens = read_typed<std::int32_t>(from, "tokens", napi_int32_array);
  const auto counts = read_typed<std::int32_t>(from, "lengths", napi_int32_array);
  std::vector<long> lengths(counts.begin(), counts.end());
  long total = 0;
  for (const long length : lengths) {
    if (length < 1 || length > spec.context_length) wrong(env, "sequences within the context length", "lengths");
    total += length;
  }
  if (tokens.empty() || total != static_cast<long>(tokens.size()))
    wrong(env, "lengths that sum to the tokens", "lengths");
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= spec.vocab) wrong(env, "token ids below the vocabulary size", "tokens");
  }
  const long threads = read_integer(from, "threads");
  if (threads < 1 || threads > kMaxThreads) wrong(env, "1 to 256", "threads");
  const quantize::Effort effort{static_cast<int>(threads), level_chosen()};
  auto calibration = std::make_shared<Calibration>(std::move(spec), std::move(sources), effort);
  return PromiseJob::start(env, Engine::loading(),
                           std::make_shared<BeginJob>(env, calibration, std::move(tokens), std::move(lengths)));
}

}  // namespace

void export_quantizer(Napi::Env env, Napi::Object exports) {
  exports.Set("quantizer", Napi::Function::New(env, make_quantizer, "quantizer"));
}

}  // namespace outrider::binding
