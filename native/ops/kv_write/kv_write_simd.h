// The vector body, included inside a level's region: conversion in vectors, placement one by one.

// 16 numbers as the 16 bits of a type.
template <DType kType>
static inline void to_bits(F x, std::uint16_t* bits) {
  if constexpr (kType == DType::kF16) {
    f_store_f16(bits, x);
    return;
  }
  // Upper halves, rounded; a NaN would lose its mark and goes one by one.
  float lanes[kLanes];
  f_store(lanes, x);
  if (f_sum(f_mul(x, f_zero())) != 0) {
    for (int i = 0; i < kLanes; ++i) bits[i] = f32_to_bf16(lanes[i]);
    return;
  }
  std::uint32_t wide[kLanes];
  __builtin_memcpy(wide, lanes, sizeof(wide));
  for (int i = 0; i < kLanes; ++i) {
    bits[i] = static_cast<std::uint16_t>((wide[i] + 0x7FFFu + ((wide[i] >> 16) & 1u)) >> 16);
  }
}

// Calls place(d, bits) for every channel.
template <DType kType, typename Place>
static inline void each_channel(const float* values, long D, Place place) {
  for (long d = 0; d < D; d += kLanes) {
    const int count = D - d < kLanes ? static_cast<int>(D - d) : kLanes;
    std::uint16_t bits[kLanes];
    to_bits<kType>(f_load_to(values + d, count), bits);
    for (int i = 0; i < count; ++i) place(d + i, bits[i]);
  }
}

template <DType kType>
static inline void write_bits(const ops::KvWriteArgs& args) {
  auto* const page = reinterpret_cast<std::uint16_t*>(args.page);
  const long D = args.D, slot = args.slot;
  if (args.key != nullptr) {
    each_channel<kType>(args.key, D, [&](long d, std::uint16_t bits) { page[kv_key_index(kType, D, d, slot)] = bits; });
  }
  if (args.value != nullptr) {
    each_channel<kType>(args.value, D,
                        [&](long d, std::uint16_t bits) { page[kv_value_index(kType, D, slot, d)] = bits; });
  }
}

void kv_write(const ops::KvWriteArgs& args) {
  if (args.type == DType::kF16) return write_bits<DType::kF16>(args);
  if (args.type == DType::kBF16) return write_bits<DType::kBF16>(args);
  auto* const page = reinterpret_cast<float*>(args.page);
  for (long d = 0; d < args.D; ++d) {
    if (args.key != nullptr) page[kv_key_index(DType::kF32, args.D, d, args.slot)] = args.key[d];
    if (args.value != nullptr) page[kv_value_index(DType::kF32, args.D, args.slot, d)] = args.value[d];
  }
}
