#include "ops/gemm/gemm.h"

namespace outrider::ops {
namespace {

constexpr Kernel<void (*)(const GemmArgs&)> kKernels[] = {
#ifdef __x86_64__
    {Level::kAvx512, avx512::gemm},   {Level::kAvx512Vnni, avx512vnni::gemm},
    {Level::kAvx512f, avx512f::gemm}, {Level::kAvx2Vnni, avx2vnni::gemm},
    {Level::kAvx2, avx2::gemm},
#endif
    {Level::kRef, ref::gemm},
};

constexpr Kernel<void (*)(const GemmPrepareArgs&)> kPrepare[] = {
#ifdef __x86_64__
    {Level::kAvx512, avx512::gemm_prepare},   {Level::kAvx512Vnni, avx512vnni::gemm_prepare},
    {Level::kAvx512f, avx512f::gemm_prepare}, {Level::kAvx2Vnni, avx2vnni::gemm_prepare},
    {Level::kAvx2, avx2::gemm_prepare},
#endif
    {Level::kRef, ref::gemm_prepare},
};

constexpr std::size_t round64(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

std::size_t GemmInput::bytes(const PackedLayout& layout, long N, Rounding mode) {
  const auto values = static_cast<std::size_t>(N * (layout.padded_cols + 1));
  const auto sums = static_cast<std::size_t>(N * layout.groups) * sizeof(float);
  return mode == Rounding::kInt8 ? round64(values) + 2 * round64(sums)
                                 : round64(values * sizeof(float)) + round64(sums);
}

GemmInput GemmInput::place(const PackedLayout& layout, long N, Rounding mode, std::byte* block) {
  GemmInput input;
  input.mode = mode;
  input.N = N;
  input.padded_cols = mode == Rounding::kBF16 ? (layout.cols + 1) / 2 * 2 : layout.padded_cols;
  input.groups = layout.groups;
  const auto values = static_cast<std::size_t>(N * input.padded_cols);
  const auto sums = round64(static_cast<std::size_t>(N * layout.groups) * sizeof(float));
  input.x = input.scale = reinterpret_cast<float*>(block);
  input.start = reinterpret_cast<std::int32_t*>(block);
  input.pairs = reinterpret_cast<std::uint32_t*>(block);
  input.q = reinterpret_cast<std::int8_t*>(block);
  if (mode == Rounding::kInt8) {
    input.scale = reinterpret_cast<float*>(block + round64(values));
    input.sum = reinterpret_cast<float*>(block + round64(values) + sums);
    input.start = reinterpret_cast<std::int32_t*>(input.sum);
  } else {
    input.sum = reinterpret_cast<float*>(block + round64(values * sizeof(float)));
  }
  return input;
}

bool GemmInput::compatible(const PackedLayout& layout, const PackedLayout& other) {
  return rounding_of(layout.format) == rounding_of(other.format) && layout.cols == other.cols &&
         layout.group == other.group && layout.padded_cols == other.padded_cols &&
         layout.zero_point == other.zero_point;
}

void gemm_prepare(const GemmPrepareArgs& args, Level level) { kernel_for(kPrepare, level)(args); }
void gemm(const GemmArgs& args, Level level) { kernel_for(kKernels, level)(args); }
unsigned gemm_levels() { return kernel_levels(kKernels); }

}  // namespace outrider::ops
