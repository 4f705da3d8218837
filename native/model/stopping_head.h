// The head that ends drafts: how likely the token that a draft model draws is the one that the larger model will say.
//
//   x_0 = state;  x_{i+1} = x_i + silu(W_i x_i + b_i), i < B;  acceptance = softmax(C x_B + c)[1]
//
// The state is what the draft model's LM head reads to draw the token: the residual stream after the final norm.
// Source: SpecDec++ (arXiv:2405.19715), section 3.
// Dims:   K hidden size of the draft model, B blocks.
#pragma once

#include <memory>
#include <vector>

#include "base/buffer.h"
#include "base/status.h"
#include "cpu/level.h"
#include "formats/packed.h"

namespace outrider {

constexpr long kMostHeadBlocks = 16;
constexpr long kMostHeadHidden = 1 << 16;

class StoppingHead {
 public:
  struct Layer {
    std::vector<float> weight;  // [rows, K]
    std::vector<float> bias;    // [rows]
  };

  // Packs the weights: K rows in a block, two classes, of which the second is acceptance. kArgument unless sizes fit.
  static Result make(long hidden, const std::vector<Layer>& blocks, const Layer& classes,
                     std::shared_ptr<const StoppingHead>* head);

  [[nodiscard]] long hidden() const { return hidden_; }
  [[nodiscard]] std::size_t scratch_bytes() const;
  // In [0, 1], or NaN where the state or sums are not finite. f32; the same on every call.
  // Cost: 2 B K^2 flops on the calling thread.
  float acceptance(const float* state, std::byte* scratch, Level level) const;

 private:
  struct Packed {
    PackedMatrix matrix;
    Buffer memory;
    std::vector<float> bias;
  };
  static Result pack(const Layer& layer, long rows, long cols, Packed* packed);
  static void multiply(const Packed& layer, const float* x, float* out, std::byte* prepared, Level level);

  long hidden_ = 0;
  std::vector<Packed> blocks_;
  Packed classes_;
  std::vector<float> ones_;  // [K], the other factor of a gated activation
};

}  // namespace outrider
