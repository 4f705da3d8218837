#include "quantize/block.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>

#include "base/thread_pool.h"
#include "model/weights_pack.h"
#include "ops/rope/rope.h"

namespace outrider::quantize {
namespace {

Result no_memory() { return Result::error(Status::kMemory, "Cannot allocate memory for the calibration tokens"); }

}  // namespace

std::array<PartShape, kParts> part_shapes(const DecoderSpec& spec) {
  const long q = spec.heads * spec.head_dim, kv = spec.kv_heads * spec.head_dim, hidden = spec.hidden, ffn = spec.ffn;
  return {{{q, hidden}, {kv, hidden}, {kv, hidden}, {hidden, q}, {ffn, hidden}, {ffn, hidden}, {hidden, ffn}}};
}

Result open_files(const ModelSources& sources, std::vector<ModelFile>* files) {
  files->resize(sources.files.size());
  for (std::size_t i = 0; i < files->size(); ++i) {
    if (Result opened = (*files)[i].open(sources.files[i]); !opened.ok()) return opened;
  }
  return {};
}

Result read_linear(const std::vector<ModelFile>& files, const MatrixSource& source, const std::string& name,
                   const Effort& effort, const std::atomic<bool>* abort, Linear* out) {
  Arena arena;
  Matrix matrix;
  const LoadControl control{effort.threads, abort, nullptr};
  if (Result read = pack_matrix(files, source, name.c_str(), control, &arena, &matrix); !read.ok()) return read;
  out->rows = source.rows;
  out->cols = source.cols;
  out->w = floats(source.rows * source.cols);
  if (!out->w) return no_memory();
  parallel(effort.threads, [&](int index, int count) {
    const Share rows = share_of(source.rows, index, count);
    for (long m = rows.begin; m < rows.end; ++m) unpack_row(matrix.packed, m, out->w.as<float>() + m * source.cols);
  });
  return {};
}

Result read_block(const std::vector<ModelFile>& files, const DecoderSpec& spec, const LayerSources& from, long layer,
                  const Effort& effort, const std::atomic<bool>* abort, BlockWeights* out) {
  const std::string name = "layer " + std::to_string(layer) + " ";
  const long q = spec.heads * spec.head_dim, kv = spec.kv_heads * spec.head_dim, hidden = spec.hidden;
  struct Entry {
    const MatrixSource& source;
    const std::optional<VectorSource>& bias;
    const char* name;
  };
  const Entry entries[kParts] = {{from.q, from.q_bias, "q"},          {from.k, from.k_bias, "k"},
                                 {from.v, from.v_bias, "v"},          {from.o, from.o_bias, "o"},
                                 {from.gate, from.gate_bias, "gate"}, {from.up, from.up_bias, "up"},
                                 {from.down, from.down_bias, "down"}};
  const auto shapes = part_shapes(spec);
  const auto vector = [&](const std::optional<VectorSource>& source, const std::string& what, long length,
                          std::vector<float>* to) -> Result {
    to->clear();
    if (!source) return {};
    if (source->length != length)
      return Result::error(Status::kShape, "Expected length " + std::to_string(length) + " for " + what);
    return read_vector(files, *source, what.c_str(), to);
  };
  for (int part = 0; part < kParts; ++part) {
    const Entry& entry = entries[part];
    const PartShape& shape = shapes[static_cast<std::size_t>(part)];
    if (entry.source.rows != shape.rows || entry.source.cols != shape.cols)
      return Result::error(Status::kShape, "Expected the decoder's shape for " + name + entry.name);
    Linear& linear = out->parts[static_cast<std::size_t>(part)];
    if (Result read = read_linear(files, entry.source, name + entry.name, effort, abort, &linear); !read.ok())
      return read;
    if (Result read = vector(entry.bias, name + entry.name + " bias", shape.rows, &linear.bias); !read.ok())
      return read;
  }
  const bool full = spec.qk_norm == QkNorm::kFull;
  struct Norm {
    const std::optional<VectorSource>& source;
    const char* name;
    long length;
    std::vector<float>* to;
  };
  const Norm norms[] = {{from.attention_norm, "attention norm", hidden, &out->attention_norm},
                        {from.attention_post_norm, "attention post norm", hidden, &out->attention_post_norm},
                        {from.mlp_norm, "MLP norm", hidden, &out->mlp_norm},
                        {from.mlp_post_norm, "MLP post norm", hidden, &out->mlp_post_norm},
                        {from.q_norm, "q norm", full ? q : spec.head_dim, &out->q_norm},
                        {from.k_norm, "k norm", full ? kv : spec.head_dim, &out->k_norm}};
  for (const Norm& norm : norms) {
    if (Result read = vector(norm.source, name + norm.name, norm.length, norm.to); !read.ok()) return read;
  }
  return {};
}

Block::Block(const DecoderSpec& spec, std::vector<long> lengths, const Effort& effort)
    : spec_(spec),
      lengths_(std::move(lengths)),
      T_(std::accumulate(lengths_.begin(), lengths_.end(), 0L)),
      longest_(*std::max_element(lengths_.begin(), lengths_.end())),
      effort_(effort),
      product_(effort) {}

bool Block::allocate() {
  const long q = spec_.heads * spec_.head_dim, kv = spec_.kv_heads * spec_.head_dim;
  normed_ = floats(T_ * spec_.hidden);
  branch_ = floats(T_ * spec_.hidden);
  q_ = floats(T_ * q);
  attended_ = floats(T_ * q);
  k_ = floats(T_ * kv);
  v_ = floats(T_ * kv);
  gate_ = floats(T_ * spec_.ffn);
  up_ = floats(T_ * spec_.ffn);
  scores_ = floats(kQueries * longest_);
  if (!normed_ || !branch_ || !q_ || !attended_ || !k_ || !v_ || !gate_ || !up_ || !scores_) return false;
  std::vector<std::int32_t> positions(static_cast<std::size_t>(longest_));
  std::iota(positions.begin(), positions.end(), 0);
  for (const RopeSpec& rope : spec_.ropes) {
    const auto half = static_cast<long>(rope.inv_freq.size());
    cos_.push_back(floats(longest_ * half));
    sin_.push_back(floats(longest_ * half));
    if (!cos_.back() || !sin_.back()) return false;
    ops::rope_table(positions.data(), longest_, rope.inv_freq.data(), half, rope.magnitude, cos_.back().as<float>(),
                    sin_.back().as<float>());
  }
  return true;
}

void Block::use(std::vector<long> lengths) {
  lengths_ = std::move(lengths);
  T_ = std::accumulate(lengths_.begin(), lengths_.end(), 0L);
}

void Block::norm(const float* x, const std::vector<float>& weight, float* out, long rows, long K) const {
  norm_rows(x, weight, out, rows, K, spec_.norm_eps, effort_);
}

void Block::attention_input(const BlockWeights& w, const float* x) {
  if (w.attention_norm.empty())
    std::memcpy(normed_.data(), x, static_cast<std::size_t>(T_ * spec_.hidden) * sizeof(float));
  else
    norm(x, w.attention_norm, normed_.as<float>(), T_, spec_.hidden);
}

void Block::mlp_input(const BlockWeights& w, const float* x) {
  if (w.mlp_norm.empty())
    std::memcpy(normed_.data(), x, static_cast<std::size_t>(T_ * spec_.hidden) * sizeof(float));
  else
    norm(x, w.mlp_norm, normed_.as<float>(), T_, spec_.hidden);
}

Result Block::attention(const BlockWeights& w, long layer) {
  const long D = spec_.head_dim, H = spec_.heads, G = spec_.kv_heads;
  float *const q = q_.as<float>(), *const k = k_.as<float>(), *const v = v_.as<float>();
  if (Result done = project(w.parts[kQ], normed(), T_, product_, q); !done.ok()) return done;
  if (Result done = project(w.parts[kK], normed(), T_, product_, k); !done.ok()) return done;
  if (Result done = project(w.parts[kV], normed(), T_, product_, v); !done.ok()) return done;
  if (spec_.qk_norm == QkNorm::kFull) {
    norm(q, w.q_norm, q, T_, H * D);
    norm(k, w.k_norm, k, T_, G * D);
  } else if (spec_.qk_norm == QkNorm::kHead) {
    norm(q, w.q_norm, q, T_ * H, D);
    norm(k, w.k_norm, k, T_ * G, D);
  }
  const LayerSpec& own = spec_.layers[static_cast<std::size_t>(layer)];
  long first = 0;
  for (const long length : lengths_) {
    if (own.rope >= 0) {
      const auto which = static_cast<std::size_t>(own.rope);
      const RopeSpec& rope = spec_.ropes[which];
      const auto half = static_cast<long>(rope.inv_freq.size());
      const auto rotate = [&](float* x, long heads) {
        ops::rope({x + first * heads * D, length, heads, D, heads * D, cos_[which].as<float>(), sin_[which].as<float>(),
                   half, rope.interleaved},
                  effort_.level);
      };
      rotate(q, H);
      rotate(k, G);
    }
    const Heads heads{length, D, H, G, own.window, spec_.attention_scale, spec_.attention_soft_cap};
    for (long head = 0; head < H; ++head) {
      if (Result done = attend(heads, head, q + first * H * D, k + first * G * D, v + first * G * D, false,
                               scores_.as<float>(), product_, attended_.as<float>() + first * H * D);
          !done.ok()) {
        return done;
      }
    }
    first += length;
  }
  return {};
}

Result Block::add(const Linear& linear, const float* in, const std::vector<float>& post_norm, float* x) {
  float* const branch = branch_.as<float>();
  if (Result done = project(linear, in, T_, product_, branch); !done.ok()) return done;
  if (!post_norm.empty()) norm(branch, post_norm, branch, T_, spec_.hidden);
  over(T_ * spec_.hidden, effort_, [&](long i) { x[i] += branch[i] * spec_.residual_scale; });
  return {};
}

Result Block::attention_output(const BlockWeights& w, float* x) {
  return add(w.parts[kO], attended(), w.attention_post_norm, x);
}

Result Block::mlp(const BlockWeights& w) {
  float *const gate = gate_.as<float>(), *const up = up_.as<float>();
  if (Result done = project(w.parts[kGate], normed(), T_, product_, gate); !done.ok()) return done;
  if (Result done = project(w.parts[kUp], normed(), T_, product_, up); !done.ok()) return done;
  parallel(effort_.threads, [&](int index, int count) {
    const Share mine = share_of(T_ * spec_.ffn, index, count, 16);
    if (mine.begin < mine.end) {
      ops::activation({spec_.activation, gate + mine.begin, up + mine.begin, gate + mine.begin, mine.end - mine.begin},
                      effort_.level);
    }
  });
  return {};
}

Result Block::mlp_output(const BlockWeights& w, float* x) { return add(w.parts[kDown], gated(), w.mlp_post_norm, x); }

Result Block::forward(const BlockWeights& w, long layer, float* x) {
  const auto nothing = [](const std::array<Part, 3>&, int, const float*) { return Result{}; };
  if (Result done = walk(w, layer, x, nothing); !done.ok()) return done;
  return mlp_output(w, x);
}

}  // namespace outrider::quantize
