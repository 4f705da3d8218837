// One decoder block on one sequence, forwards and backwards: gradients of every weight, norm and input in f32.
//
//   a = norm1(x)   q, k, v = W a + b   [q, k = norm(q), norm(k) per head]   rope(q, k)   c = attention(q, k, v)
//   h = x + r Wo c   m = norm2(h)   y = h + r Wdown (silu(Wgate m) * (Wup m))                    r: the residual scale
//
// The loss is the error of y relative to the size of what it should be, token by token, so that the few tokens and
// channels of huge size that decoders have do not drown the others:
//
//   loss = 1/T sum_t |y_t - y*_t|^2 / |y*_t|^2
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "quantize/block.h"

namespace outrider::quantize {

// Whether a model's blocks are of the form above: llama, mistral, qwen2, qwen3 and what is built like them.
bool differentiable(const DecoderSpec& spec, const BlockWeights& weights);

struct BlockGradients {
  std::array<Buffer, kParts> parts;  // [rows, cols] each
  std::vector<float> attention_norm, mlp_norm, q_norm, k_norm;
  Buffer x;  // [T, hidden]; filled if asked for
};

// Sums over tokens of the squared gradients by the outputs of each matrix. [rows] each
using OutputSquares = std::array<std::vector<double>, kParts>;

// What a pass forwards leaves for the one back.
struct BlockActivations {
  // Memory for sequences of at most `longest` tokens; false if there is none.
  bool allocate(const DecoderSpec& spec, long longest);
  static std::size_t bytes(const DecoderSpec& spec, long longest);

  long T = 0, layer = 0;
  const float* x = nullptr;
  // q_raw and k_raw: before the norms of heads; empty without any.
  Buffer a, q_raw, k_raw, q, k, v, scores, c, h, m, gate, up, gated;

 private:
  std::array<std::pair<Buffer*, long>, 13> sizes(const DecoderSpec& spec, long L);
};

class BlockGradient {
 public:
  // For sequences of at most `longest` tokens.
  BlockGradient(const DecoderSpec& spec, long longest, const Effort& effort);
  bool allocate(const BlockWeights& weights);

  // y of x [T, hidden] into y() and what backward() needs into `kept`, by default memory of its own. x must stay.
  Result forward(const BlockWeights& w, long layer, const float* x, long T, BlockActivations* kept = nullptr);
  // The next pass back is that of what an earlier one left in `kept`.
  void resume(BlockActivations* kept) { kept_ = kept; }
  // The loss against `target` [T, hidden], and the gradients of it.
  Result backward(const BlockWeights& w, const float* target, bool want_x, double* loss);
  // The gradients of another loss, whose gradient of y is dy [T, hidden]; dy may be gradients().x.
  Result backward_from(const BlockWeights& w, const float* dy, bool want_x);
  // Of the products with weights, from now on; f32 at first.
  void round(Factors factors) { factors_ = factors; }
  // From now on gradients by matrices are left out, and those by their outputs added to `squares`.
  void only_outputs(OutputSquares* squares) { squares_ = squares; }
  // The loss of y(), without gradients.
  [[nodiscard]] double loss(const float* target) const;
  [[nodiscard]] const float* y() const { return y_.as<float>(); }
  [[nodiscard]] const BlockGradients& gradients() const { return gradients_; }

 private:
  // Gradient of the matrix, and of its input if d_in is not null.
  Result project_back(const Linear& linear, Part part, const float* in, const float* d_out, float* d_in, bool add);
  void rotate(float* x, long heads, bool back) const;
  Result attend_back(long head);
  // From the gradient of y in dh_.
  Result back(const BlockWeights& w, bool want_x);

  const DecoderSpec& spec_;
  long longest_;
  Effort effort_;
  Product product_;
  Factors factors_ = Factors::kF32;
  BlockGradients gradients_;
  OutputSquares* squares_ = nullptr;
  BlockActivations own_;
  BlockActivations* kept_ = &own_;
  Buffer branch_, y_, da_, dq_, dk_, dv_, dc_, dh_, dgate_, dup_, dgated_, dscores_, turned_;
  std::vector<Buffer> cos_, sin_, back_sin_;
};

}  // namespace outrider::quantize
