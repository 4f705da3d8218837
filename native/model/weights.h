// The weights of a model, packed for the kernels, and how they are read from files.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/model_file.h"
#include "base/status.h"
#include "formats/gguf_blocks.h"
#include "formats/packed.h"
#include "model/spec.h"

namespace outrider {

// A run of bytes in one of the model's files.
struct Span {
  int file = 0;
  std::size_t offset = 0, bytes = 0;
};

enum class SourceKind : int { kDense, kGguf, kAffine };

// Where a matrix lies. lib/native/decoder.ts documents the members (MatrixSource).
struct MatrixSource {
  SourceKind kind = SourceKind::kDense;
  WeightFormat dense = WeightFormat::kF32;  // kDense
  GgufType gguf = GgufType::kQ4_0;          // kGguf
  int bits = 0;                             // kAffine
  long group = 0;
  bool f32_scales = false;
  Span scale, zero;
  long rows = 0, cols = 0, row_start = 0, stored_rows = 0, permuted_heads = 0;
  Span data;
};

struct VectorSource {
  WeightFormat format = WeightFormat::kF32;  // dense formats only
  long length = 0, start = 0, stored_length = 0, permuted_heads = 0;
  float add = 0;
  Span data;
};

struct LayerSources {
  MatrixSource q, k, v, o, gate, up, down;
  std::optional<VectorSource> q_bias, k_bias, v_bias, o_bias, gate_bias, up_bias, down_bias;
  std::optional<VectorSource> attention_norm, attention_post_norm, mlp_norm, mlp_post_norm, q_norm, k_norm;
};

struct ModelSources {
  std::vector<std::string> files;
  MatrixSource embedding;
  std::optional<MatrixSource> head;
  VectorSource final_norm;
  std::vector<LayerSources> layers;
};

// A packed matrix in the memory of the model's weights.
struct Matrix {
  PackedMatrix packed;
};

struct LayerWeights {
  Matrix q, k, v, o, gate, up, down;
  // Absent vectors are empty.
  std::vector<float> q_bias, k_bias, v_bias, o_bias, gate_bias, up_bias, down_bias;
  std::vector<float> attention_norm, attention_post_norm, mlp_norm, mlp_post_norm, q_norm, k_norm;
};

struct Weights {
  DecoderSpec spec;
  Arena memory;  // of all matrices
  Matrix embedding, own_head;
  std::vector<float> final_norm;
  std::vector<LayerWeights> layers;
  std::size_t bytes = 0;          // packed bytes of all matrices
  std::uint64_t fingerprint = 0;  // of shapes and sampled contents: tells models apart in KV snapshots

  [[nodiscard]] const PackedMatrix& head() const {
    return own_head.packed.data != nullptr ? own_head.packed : embedding.packed;
  }
};

struct LoadControl {
  int threads = 1;
  const std::atomic<bool>* abort = nullptr;
  std::atomic<std::uint64_t>* done_bytes = nullptr;  // stored bytes packed so far
};

// Dimensions within outrider's limits, and ropes and windows that fit them.
Result check_spec(const DecoderSpec& spec, std::size_t layers);

// Reads, checks and packs. A model with the same files (by identity) and the same sources that is already loaded in
// this process is shared instead. Nothing is left behind on failure.
Result load_weights(const DecoderSpec& spec, const ModelSources& sources, const std::string& key,
                    const LoadControl& control, std::shared_ptr<const Weights>* out);

}  // namespace outrider
