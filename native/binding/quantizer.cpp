// quantizer(): a model's blocks to few bits, one call each, on the loading engine.
#include <napi.h>

#include "binding/args.h"
#include "binding/job.h"
#include "binding/objects.h"
#include "binding/quantize_io.h"
#include "quantize/calibration.h"
#include "quantize/codes.h"

namespace outrider::binding {
namespace {

using quantize::Calibration;
using quantize::kParts;
using Shared = std::shared_ptr<Calibration>;

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
    if (bits_ == 16) return to_typed<Napi::Uint16Array>(env, halves_);
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
      norms.Set(static_cast<std::uint32_t>(i), to_typed<Napi::Float32Array>(env, outcome_.norms[i]));
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
            const auto shapes = quantize::part_shapes(spec);
            for (std::uint32_t part = 0; part < kParts; ++part)
              block.parts[part] = read_plan(read_object(parts.Get(part), "parts"), shapes[part]);
            if (!absent(from.Get("norms"))) block.norms = read_norms(read_array(from, "norms"), spec);
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
  QuantizeSource source = read_quantize_source(read_object(info[0], "options"));
  auto calibration = std::make_shared<Calibration>(std::move(source.spec), std::move(source.sources), source.effort);
  return PromiseJob::start(
      env, Engine::loading(),
      std::make_shared<BeginJob>(env, calibration, std::move(source.tokens), std::move(source.lengths)));
}

}  // namespace

void export_quantizer(Napi::Env env, Napi::Object exports) {
  exports.Set("quantizer", Napi::Function::New(env, make_quantizer, "quantizer"));
}

}  // namespace outrider::binding
