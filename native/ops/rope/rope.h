// Rotary position embedding.
//
//   (a, b) -> (a cos - b sin, b cos + a sin)     with angle position[t] * inv_freq[i] for pair i of each head
//
// Pair i is channels (i, i + half) in half-split form or (2 i, 2 i + 1) in interleaved form; channels from 2 * half on
// are left alone (partial rotary). Source: arXiv:2104.09864, equation 34; half-split is the layout of Hugging Face
// checkpoints. Dims: T rows, H heads, D head size, half = rotary channels / 2.
//
// Angles are formed in f32, f32(position) * inv_freq, as the models were trained; their cosine and sine are taken in
// double and rounded, so the table has the same bits on every level.
#pragma once

#include <cstdint>

#include "cpu/level.h"

namespace outrider::ops {

// cos and sin times magnitude, [T, half] each.
void rope_table(const std::int32_t* position, long T, const float* inv_freq, long half, float magnitude, float* cos,
                float* sin);

struct RopeArgs {
  float* x;  // [T, H, D], rows x_stride apart; rotated in place
  long T, H, D, x_stride;
  const float* cos;  // [T, half]
  const float* sin;  // [T, half]
  long half;         // 2 * half <= D
  bool interleaved;
};

// Shapes are preconditions. Reentrant. Cost: 6 T H half flops.
void rope(const RopeArgs& args, Level level);
unsigned rope_levels();

}  // namespace outrider::ops

namespace outrider::ref {
void rope(const ops::RopeArgs& args);
}
namespace outrider::avx2 {
void rope(const ops::RopeArgs& args);
}
namespace outrider::avx512f {
void rope(const ops::RopeArgs& args);
}
