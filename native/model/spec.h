// One decoder-only transformer as plain numbers. lib/native/decoder.ts documents each member under the same name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/activation/activation.h"

namespace outrider {

enum class QkNorm : int { kNone, kHead, kFull };

struct RopeSpec {
  std::vector<float> inv_freq;  // [rotary channels / 2]
  float magnitude = 1;
  bool interleaved = false;
};

struct LayerSpec {
  int rope = -1;    // index into ropes; -1: no positional encoding
  long window = 0;  // 0: full attention
};

struct DecoderSpec {
  std::string family;
  long hidden = 0, ffn = 0, vocab = 0, heads = 0, kv_heads = 0, head_dim = 0, context_length = 0;
  float norm_eps = 0;
  ops::Activation activation = ops::Activation::kSilu;
  QkNorm qk_norm = QkNorm::kNone;
  float embedding_scale = 1, residual_scale = 1, attention_scale = 1, attention_soft_cap = 0;
  float logit_scale = 1, logit_soft_cap = 0;
  std::vector<RopeSpec> ropes;
  std::vector<LayerSpec> layers;
};

}  // namespace outrider
