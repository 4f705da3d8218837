// One KV page: 64 consecutive tokens of one layer and one KV head.
//
//   f32, f16   keys [D][64]        token in lanes, so that 16 scores are one vector and no dot product needs a
//   horizontal sum
//              values [64][D]      channel in lanes, so that the weighted sum runs token by token
//   bf16       keys [D / 2][64][2] two channels of a token side by side, then [64] for the last one of an odd D
//              values [32][D][2]   two tokens of a channel side by side
//
// D head size. A pointer to a page is a pointer to its keys; the values follow at once. bf16 lies in pairs because that
// is what a two-way bf16 dot product takes, with the same lanes; other processors take a pair apart with a shift and a
// mask. Token t of a sequence always lies in slot t % 64: attention walks blocks by absolute position, which is what
// makes a row's result independent of how its prefix was written. Storing keys token-major would make appending one
// copy instead of D stores; reading outnumbers appending by the length of the context.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace outrider {

constexpr long kPageTokens = 64;

constexpr std::size_t kv_page_bytes(long head_dim, DType type) {
  return static_cast<std::size_t>(2 * kPageTokens * head_dim) * dtype_bytes(type);
}

// Where channel d of a slot's key and value lies, in elements from the start of the page.
constexpr std::size_t kv_key_index(DType type, long head_dim, long d, long slot) {
  const bool paired = type == DType::kBF16 && (d | 1) < head_dim;
  return static_cast<std::size_t>(paired ? ((d >> 1) * kPageTokens + slot) * 2 + (d & 1) : d * kPageTokens + slot);
}
constexpr std::size_t kv_value_index(DType type, long head_dim, long slot, long d) {
  const long at = type == DType::kBF16 ? ((slot >> 1) * head_dim + d) * 2 + (slot & 1) : slot * head_dim + d;
  return static_cast<std::size_t>(kPageTokens * head_dim + at);
}

// Copies one token between slots without rounding again. Both pages have the same type.
void kv_page_copy(std::byte* to, long to_slot, const std::byte* from, long from_slot, long head_dim, DType type);

// Zeroes slots [begin, end).
void kv_page_clear(std::byte* page, long begin, long end, long head_dim, DType type);

}  // namespace outrider
