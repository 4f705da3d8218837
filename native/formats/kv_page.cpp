#include "formats/kv_page.h"

#include <type_traits>

namespace outrider {
namespace {

// Calls body with the page's type as a constant.
template <typename Body>
void with_type(DType type, Body body) {
  if (type == DType::kF32)
    body(std::integral_constant<DType, DType::kF32>{});
  else if (type == DType::kF16)
    body(std::integral_constant<DType, DType::kF16>{});
  else
    body(std::integral_constant<DType, DType::kBF16>{});
}

}  // namespace

void kv_page_copy(std::byte* to, long to_slot, const std::byte* from, long from_slot, long head_dim, DType type) {
  with_type(type, [&](auto constant) {
    constexpr DType kType = decltype(constant)::value;
    constexpr std::size_t size = dtype_bytes(kType);
    for (long d = 0; d < head_dim; ++d) {
      __builtin_memcpy(to + kv_key_index(kType, head_dim, d, to_slot) * size,
                       from + kv_key_index(kType, head_dim, d, from_slot) * size, size);
      __builtin_memcpy(to + kv_value_index(kType, head_dim, to_slot, d) * size,
                       from + kv_value_index(kType, head_dim, from_slot, d) * size, size);
    }
  });
}

void kv_page_clear(std::byte* page, long begin, long end, long head_dim, DType type) {
  with_type(type, [&](auto constant) {
    constexpr DType kType = decltype(constant)::value;
    constexpr std::size_t size = dtype_bytes(kType);
    for (long s = begin; s < end; ++s) {
      for (long d = 0; d < head_dim; ++d) {
        __builtin_memset(page + kv_key_index(kType, head_dim, d, s) * size, 0, size);
        __builtin_memset(page + kv_value_index(kType, head_dim, s, d) * size, 0, size);
      }
    }
  });
}

}  // namespace outrider
