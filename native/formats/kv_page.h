// One KV page: 64 consecutive tokens of one layer and one KV head.
//
//   keys    [D][64]   token in lanes, so that 16 scores are one vector and no dot product needs a horizontal sum
//   values  [64][D]   channel in lanes, so that the weighted sum runs token by token
//
// D head size. Elements are f32, f16 or bf16. A pointer to a page is a pointer to its keys; the values follow at once.
// Token t of a sequence always lies in slot t % 64: attention walks blocks by absolute position, which is what makes a
// row's result independent of how its prefix was written. Storing keys token-major would make appending one copy
// instead of D stores; reading outnumbers appending by the length of the context.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace outrider {

constexpr long kPageTokens = 64;

constexpr std::size_t kv_page_bytes(long head_dim, DType type) {
  return static_cast<std::size_t>(2 * kPageTokens * head_dim) * dtype_bytes(type);
}

// Writes one token's rotated key and value, [D] each, rounded to the page's type, into a slot.
inline void kv_page_write(std::byte* page, DType type, long head_dim, long slot, const float* key, const float* value) {
  for (long d = 0; d < head_dim; ++d) {
    store_float(page, type, static_cast<std::size_t>(d * kPageTokens + slot), key[d]);
    store_float(page, type, static_cast<std::size_t>((kPageTokens + slot) * head_dim + d), value[d]);
  }
}

// Copies one token between slots without rounding again. Both pages have the same type.
inline void kv_page_copy(std::byte* to, long to_slot, const std::byte* from, long from_slot, long head_dim,
                         DType type) {
  const std::size_t size = dtype_bytes(type);
  for (long d = 0; d < head_dim; ++d) {
    __builtin_memcpy(to + static_cast<std::size_t>(d * kPageTokens + to_slot) * size,
                     from + static_cast<std::size_t>(d * kPageTokens + from_slot) * size, size);
  }
  __builtin_memcpy(to + static_cast<std::size_t>((kPageTokens + to_slot) * head_dim) * size,
                   from + static_cast<std::size_t>((kPageTokens + from_slot) * head_dim) * size,
                   static_cast<std::size_t>(head_dim) * size);
}

// Zeroes the slots from `slot` on: what was truncated leaves no trace.
inline void kv_page_clear(std::byte* page, long slot, long head_dim, DType type) {
  const std::size_t size = dtype_bytes(type), rest = static_cast<std::size_t>(kPageTokens - slot);
  for (long d = 0; d < head_dim; ++d)
    __builtin_memset(page + static_cast<std::size_t>(d * kPageTokens + slot) * size, 0, rest * size);
  __builtin_memset(page + static_cast<std::size_t>((kPageTokens + slot) * head_dim) * size, 0,
                   rest * static_cast<std::size_t>(head_dim) * size);
}

}  // namespace outrider
