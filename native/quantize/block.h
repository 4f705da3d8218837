// One decoder block on plain f32 weights and all calibration tokens at once: where the statistics of each layer come
// from. The runtime's decoder packs weights and keeps KV pages; here weights change between the steps of one block.
#pragma once

#include <array>
#include <vector>

#include "model/spec.h"
#include "model/weights.h"
#include "quantize/dense_steps.h"

namespace outrider::quantize {

enum Part : int { kQ, kK, kV, kO, kGate, kUp, kDown, kParts };

struct PartShape {
  long rows, cols;
};
std::array<PartShape, kParts> part_shapes(const DecoderSpec& spec);

struct BlockWeights {
  std::array<Linear, kParts> parts;
  // Absent norms are empty.
  std::vector<float> attention_norm, attention_post_norm, mlp_norm, mlp_post_norm, q_norm, k_norm;
};

Result open_files(const ModelSources& sources, std::vector<ModelFile>* files);
// Reads a block, rows in the order the decoder computes in.
Result read_block(const std::vector<ModelFile>& files, const DecoderSpec& spec, const LayerSources& sources, long layer,
                  const Effort& effort, const std::atomic<bool>* abort, BlockWeights* out);
// One matrix as f32 rows.
Result read_linear(const std::vector<ModelFile>& files, const MatrixSource& source, const std::string& name,
                   const Effort& effort, const std::atomic<bool>* abort, Linear* out);

// The steps of a block over T tokens in sequences of the given lengths. Buffers belong to the object and are reused.
class Block {
 public:
  Block(const DecoderSpec& spec, std::vector<long> lengths, const Effort& effort);
  // Memory for all steps; false if there is none.
  bool allocate();
  // Other sequences from now on, not longer in all nor each than those there was memory allocated for.
  void use(std::vector<long> lengths);

  // x: [T, hidden]. Each step leaves its result in a buffer that the next one reads.
  void attention_input(const BlockWeights& w, const float* x);  // normed()
  Result attention(const BlockWeights& w, long layer);          // normed() -> attended()
  Result attention_output(const BlockWeights& w, float* x);     // attended() added to x
  void mlp_input(const BlockWeights& w, const float* x);        // normed()
  Result mlp(const BlockWeights& w);                            // normed() -> gated()
  Result mlp_output(const BlockWeights& w, float* x);           // gated() added to x

  // All but the last, and visit(parts, how many, inputs) -> Result before each set of parts with the same inputs, in
  // the order in which they are used; it may change their weights. x becomes what mlp_output() is to add to.
  template <typename Visit>
  Result walk(const BlockWeights& w, long layer, float* x, const Visit& visit) {
    using Set = std::array<Part, 3>;
    attention_input(w, x);
    if (Result done = visit(Set{kQ, kK, kV}, 3, normed()); !done.ok()) return done;
    if (Result done = attention(w, layer); !done.ok()) return done;
    if (Result done = visit(Set{kO}, 1, attended()); !done.ok()) return done;
    if (Result done = attention_output(w, x); !done.ok()) return done;
    mlp_input(w, x);
    if (Result done = visit(Set{kGate, kUp}, 2, normed()); !done.ok()) return done;
    if (Result done = mlp(w); !done.ok()) return done;
    return visit(Set{kDown}, 1, gated());
  }
  // All of them, from one block's input to the next one's.
  Result forward(const BlockWeights& w, long layer, float* x);

  [[nodiscard]] const float* normed() const { return normed_.as<float>(); }      // [T, hidden]
  [[nodiscard]] const float* attended() const { return attended_.as<float>(); }  // [T, heads * head_dim]
  [[nodiscard]] const float* gated() const { return gate_.as<float>(); }         // [T, ffn]
  [[nodiscard]] Product& product() { return product_; }
  [[nodiscard]] long tokens() const { return T_; }

 private:
  void norm(const float* x, const std::vector<float>& weight, float* out, long rows, long K) const;
  Result add(const Linear& linear, const float* in, const std::vector<float>& post_norm, float* x);

  const DecoderSpec& spec_;
  std::vector<long> lengths_;
  long T_ = 0, longest_ = 0;
  Effort effort_;
  Product product_;
  Buffer normed_, q_, k_, v_, attended_, gate_, up_, branch_, scores_;
  std::vector<Buffer> cos_, sin_;  // of each rope: [longest, half]
};

}  // namespace outrider::quantize
