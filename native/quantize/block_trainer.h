// Training of what is not frozen in a quantised block: scales, zeros and norms.
#pragma once

#include "quantize/adam.h"
#include "quantize/block_gradient.h"
#include "quantize/grid.h"

namespace outrider::quantize {

// A quantised matrix of the block; null codes: not quantised, left alone.
struct Trainable {
  const Shape* shape = nullptr;
  const std::int8_t* q = nullptr;  // [M, d]
  Grid* grid = nullptr;            // zeros of unsigned codes
};

// The norms that training changes: of the attention's input, the MLP's, queries and keys; those of heads may be empty.
using Norms = std::array<std::vector<float>*, 4>;
inline Norms norms_of(BlockWeights& w) { return {&w.attention_norm, &w.mlp_norm, &w.q_norm, &w.k_norm}; }

// The matrix of codes on a grid of unsigned zeros, into w [M, d].
void image_of(const Shape& shape, const std::int8_t* q, const Grid& grid, int threads, float* w);

class BlockTrainer {
 public:
  // Grids and norms must outlive it and stay where they are.
  BlockTrainer(const std::array<Trainable, kParts>& parts, const Norms& norms, int threads);
  BlockTrainer(const BlockTrainer&) = delete;
  BlockTrainer& operator=(const BlockTrainer&) = delete;

  // Gradients of scales and middles, from those of the matrices.
  void collect(const BlockGradients& gradients);
  // One step of Adam, t from 1, with what was collected: grids and norms follow.
  void step(const BlockGradients& gradients, double rate, long t);
  // Grids to f16 numbers, as files hold them.
  void round();
  // The matrices of the grids as they are, into w.
  void images(BlockWeights* w) const;
  // All that training has changed; after writing to it, call restored().
  std::vector<std::vector<float>*> state();
  void restored();

  // By scale and by the weight in the middle of the codes, which are less entangled than scale and zero. [M, G]
  [[nodiscard]] const std::vector<float>& d_scale(int part) const { return own_[at(part)].d_scale; }
  [[nodiscard]] const std::vector<float>& d_middle(int part) const { return own_[at(part)].d_middle; }

 private:
  struct Centred {
    std::vector<float> scale, middle, d_scale, d_middle;
  };
  static std::size_t at(int part) { return static_cast<std::size_t>(part); }
  [[nodiscard]] float middle_code(int part) const;
  void write_back(int part);

  std::array<Trainable, kParts> parts_;
  Norms norms_;
  int threads_;
  std::array<Centred, kParts> own_;
  std::vector<Adam> scales_, middles_, norm_states_;
};

}  // namespace outrider::quantize
