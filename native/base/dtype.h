// Element types that cross from JavaScript or from files. The order is part of the binding: lib/tensor/dtype.ts repeats
// it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/half.h"

namespace outrider {

enum class DType : std::uint8_t { kF64, kF32, kF16, kBF16, kI32, kU32, kI8, kU8 };

constexpr std::size_t dtype_bytes(DType type) {
  switch (type) {
    case DType::kF64:
      return 8;
    case DType::kF32:
    case DType::kI32:
    case DType::kU32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kI8:
    case DType::kU8:
      return 1;
  }
  return 0;
}

// One element of a floating-point array as f32. Only for kF32, kF16 and kBF16.
inline float load_float(const void* data, DType type, std::size_t index) {
  if (type == DType::kF32) return static_cast<const float*>(data)[index];
  const std::uint16_t bits = static_cast<const std::uint16_t*>(data)[index];
  return type == DType::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

inline void store_float(void* data, DType type, std::size_t index, float value) {
  if (type == DType::kF32) {
    static_cast<float*>(data)[index] = value;
  } else {
    static_cast<std::uint16_t*>(data)[index] = type == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
  }
}

}  // namespace outrider
