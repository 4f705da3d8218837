#include "model/weights.h"

#include <map>
#include <mutex>

#include "base/hash.h"
#include "model/weights_pack.h"

namespace outrider {
namespace {

// Loaded models of this process by what they were loaded from, so that workers and second loads share one copy.
std::mutex registry_mutex;
std::map<std::string, std::weak_ptr<const Weights>>& registry() {
  static auto* const models = new std::map<std::string, std::weak_ptr<const Weights>>;
  return *models;
}

class Loader {
 public:
  Loader(const std::vector<ModelFile>& files, const LoadControl& control, Weights* weights)
      : files_(files), control_(control), weights_(weights) {}

  // Each step is skipped once something has failed.
  void matrix(const MatrixSource& source, const std::string& name, long rows, long cols, Matrix* out) {
    if (!result_.ok()) return;
    if (control_.abort != nullptr && control_.abort->load()) {
      result_ = Result::error(Status::kAborted, "aborted");
      return;
    }
    if (source.rows != rows || source.cols != cols) {
      result_ = Result::error(Status::kShape, "Expected shape [" + std::to_string(rows) + ", " + std::to_string(cols) +
                                                  "] for " + name + ", received [" + std::to_string(source.rows) +
                                                  ", " + std::to_string(source.cols) + "]");
      return;
    }
    result_ = pack_matrix(files_, source, name.c_str(), control_, &weights_->memory, out);
    if (!result_.ok()) return;
    const std::size_t bytes = out->packed.layout.total;
    weights_->bytes += bytes;
    sample(out->packed.data, bytes);
    if (control_.done_bytes != nullptr) control_.done_bytes->fetch_add(source_bytes(source));
  }

  void vector(const std::optional<VectorSource>& source, const std::string& name, long length,
              std::vector<float>* out) {
    if (!result_.ok() || !source) return;
    if (source->length != length) {
      result_ = Result::error(Status::kShape, "Expected length " + std::to_string(length) + " for " + name +
                                                  ", received " + std::to_string(source->length));
      return;
    }
    result_ = read_vector(files_, *source, name.c_str(), out);
    if (result_.ok()) sample(reinterpret_cast<const std::byte*>(out->data()), out->size() * sizeof(float));
  }

  [[nodiscard]] const Result& result() const { return result_; }

 private:
  // The ends and the middle of a tensor: enough to tell models apart, and free.
  void sample(const std::byte* data, std::size_t bytes) {
    const std::size_t piece = bytes < 64 ? bytes : 64;
    std::uint64_t h = weights_->fingerprint;
    h = hash64(data, piece, h);
    h = hash64(data + (bytes - piece) / 2, piece, h);
    h = hash64(data + (bytes - piece), piece, h);
    weights_->fingerprint = hash64(&bytes, sizeof(bytes), h);
  }

  const std::vector<ModelFile>& files_;
  const LoadControl& control_;
  Weights* weights_;
  Result result_;
};

}  // namespace

Result check_spec(const DecoderSpec& s, std::size_t layers) {
  const auto in = [](long value, long limit) { return value > 0 && value <= limit; };
  const bool ok = in(s.hidden, 1 << 20) && in(s.ffn, 1 << 22) && in(s.vocab, 1 << 24) && in(s.heads, 4096) &&
                  in(s.kv_heads, s.heads) && s.heads % s.kv_heads == 0 && in(s.head_dim, 512) &&
                  in(s.context_length, 1 << 24) && !s.layers.empty() && s.layers.size() == layers && layers <= 4096;
  if (!ok) return Result::error(Status::kUnsupported, "Expected decoder dimensions within outrider's limits");
  for (const RopeSpec& rope : s.ropes) {
    if (rope.inv_freq.empty() || 2 * static_cast<long>(rope.inv_freq.size()) > s.head_dim) {
      return Result::error(Status::kShape, "Expected at most head_dim / 2 inverse frequencies for RoPE");
    }
  }
  for (const LayerSpec& layer : s.layers) {
    if (layer.rope < -1 || layer.rope >= static_cast<int>(s.ropes.size()) || layer.window < 0) {
      return Result::error(Status::kArgument, "Expected a valid RoPE index and window for each layer");
    }
  }
  return {};
}

namespace {

void load_layer(Loader& load, const DecoderSpec& s, const LayerSources& from, const std::string& name,
                LayerWeights* to) {
  const long q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  load.matrix(from.q, name + "q", q, s.hidden, &to->q);
  load.matrix(from.k, name + "k", kv, s.hidden, &to->k);
  load.matrix(from.v, name + "v", kv, s.hidden, &to->v);
  load.matrix(from.o, name + "o", s.hidden, q, &to->o);
  load.matrix(from.gate, name + "gate", s.ffn, s.hidden, &to->gate);
  load.matrix(from.up, name + "up", s.ffn, s.hidden, &to->up);
  load.matrix(from.down, name + "down", s.hidden, s.ffn, &to->down);
  load.vector(from.q_bias, name + "q bias", q, &to->q_bias);
  load.vector(from.k_bias, name + "k bias", kv, &to->k_bias);
  load.vector(from.v_bias, name + "v bias", kv, &to->v_bias);
  load.vector(from.o_bias, name + "o bias", s.hidden, &to->o_bias);
  load.vector(from.gate_bias, name + "gate bias", s.ffn, &to->gate_bias);
  load.vector(from.up_bias, name + "up bias", s.ffn, &to->up_bias);
  load.vector(from.down_bias, name + "down bias", s.hidden, &to->down_bias);
  load.vector(from.attention_norm, name + "attention norm", s.hidden, &to->attention_norm);
  load.vector(from.attention_post_norm, name + "attention post norm", s.hidden, &to->attention_post_norm);
  load.vector(from.mlp_norm, name + "MLP norm", s.hidden, &to->mlp_norm);
  load.vector(from.mlp_post_norm, name + "MLP post norm", s.hidden, &to->mlp_post_norm);
  const bool full = s.qk_norm == QkNorm::kFull;
  load.vector(from.q_norm, name + "q norm", full ? q : s.head_dim, &to->q_norm);
  load.vector(from.k_norm, name + "k norm", full ? kv : s.head_dim, &to->k_norm);
}

// What all matrices take, if the sources are what they say: each is checked before it is packed.
std::size_t expected_bytes(const ModelSources& sources, std::size_t file_bytes) {
  std::size_t bytes = 0;
  const auto add = [&bytes](const MatrixSource& source) {
    constexpr long kLimit = 1L << 31;
    const bool sane = source.rows > 0 && source.rows < kLimit && source.cols > 0 && source.cols < kLimit &&
                      (source.kind != SourceKind::kAffine || (source.bits > 0 && source.bits <= 8));
    if (sane) bytes += (packed_bytes(source) + 63) / 64 * 64;
  };
  add(sources.embedding);
  if (sources.head) add(*sources.head);
  for (const LayerSources& layer : sources.layers) {
    for (const MatrixSource* source : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
      add(*source);
  }
  return std::min(bytes, 3 * file_bytes);  // no format grows more than that
}

Result load_all(const DecoderSpec& spec, const ModelSources& sources, const std::vector<ModelFile>& files,
                const LoadControl& control, Weights* weights) {
  weights->spec = spec;
  std::size_t file_bytes = 0;
  for (const ModelFile& file : files) file_bytes += file.size();
  weights->memory = Arena(expected_bytes(sources, file_bytes));
  weights->layers.resize(spec.layers.size());
  Loader load(files, control, weights);
  load.matrix(sources.embedding, "embedding", spec.vocab, spec.hidden, &weights->embedding);
  if (sources.head) load.matrix(*sources.head, "output head", spec.vocab, spec.hidden, &weights->own_head);
  load.vector(sources.final_norm, "final norm", spec.hidden, &weights->final_norm);
  for (std::size_t l = 0; l < spec.layers.size() && load.result().ok(); ++l) {
    load_layer(load, spec, sources.layers[l], "layer " + std::to_string(l) + " ", &weights->layers[l]);
    const LayerWeights& layer = weights->layers[l];
    if (load.result().ok() && spec.qk_norm != QkNorm::kNone && (layer.q_norm.empty() || layer.k_norm.empty())) {
      return Result::error(Status::kFormat, "Expected q and k norms for layer " + std::to_string(l));
    }
  }
  return load.result();
}

}  // namespace

Result load_weights(const DecoderSpec& spec, const ModelSources& sources, const std::string& key,
                    const LoadControl& control, std::shared_ptr<const Weights>* out) {
  if (Result checked = check_spec(spec, sources.layers.size()); !checked.ok()) return checked;
  std::vector<ModelFile> files(sources.files.size());
  std::string identity = key;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (Result opened = files[i].open(sources.files[i]); !opened.ok()) return opened;
    identity += "|" + files[i].identity();
  }
  // Held while packing: a second load of the same model waits for the first and then shares it.
  const std::lock_guard<std::mutex> lock(registry_mutex);
  if (const auto found = registry().find(identity); found != registry().end()) {
    if (auto shared = found->second.lock()) {
      *out = std::move(shared);
      return {};
    }
    registry().erase(found);
  }
  // Not make_shared: the weak reference of the registry would keep the memory of the object.
  auto weights = std::shared_ptr<Weights>(new Weights);
  if (Result loaded = load_all(spec, sources, files, control, weights.get()); !loaded.ok()) return loaded;
  std::erase_if(registry(), [](const auto& entry) { return entry.second.expired(); });
  registry()[identity] = weights;
  *out = std::move(weights);
  return {};
}

}  // namespace outrider
