#include "ops/gemm/gemm.h"

#include <algorithm>

namespace outrider::ops {
namespace {

constexpr Kernel<void (*)(const GemmArgs&)> kKernels[] = {
#ifdef __x86_64__
    {Level::kAvx512Amx, avx512amx::gemm},
    {Level::kAvx512, avx512::gemm},
    {Level::kAvx512Vnni, avx512vnni::gemm},
    {Level::kAvx512f, avx512f::gemm},
    {Level::kAvx2Vnni, avx2vnni::gemm},
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

constexpr Kernel<void (*)(const float*, long, std::byte*)> kPairPanel[] = {
#ifdef __x86_64__
    {Level::kAvx512, avx512::pair_panel},
#endif
    {Level::kRef, nullptr},
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

void gemm_prepare_groups(const GemmPrepareArgs& args, long group_begin, long group_end, Level level) {
  // To a kernel, groups of a row are a matrix of one row.
  const PackedLayout& whole = *args.layout;
  const GemmInput& in = *args.input;
  const long padded_group = whole.group_blocks * codes_per_block(whole.format), first = group_begin * whole.group;
  PackedLayout part = whole;
  part.groups = group_end - group_begin;
  part.cols = std::min(group_end * whole.group, whole.cols) - first;
  part.padded_cols =
      (group_end == whole.groups ? whole.padded_cols : group_end * padded_group) - group_begin * padded_group;
  for (long n = args.row_begin; n < args.row_end; ++n) {
    const long at = n * in.padded_cols + group_begin * padded_group, group_at = n * in.groups + group_begin;
    GemmInput row = in;
    row.N = 1;
    row.padded_cols = part.padded_cols;
    row.groups = part.groups;
    row.x += at;
    row.q += at;
    row.scale += group_at;
    row.sum += group_at;
    row.start += group_at;
    const auto* const x = static_cast<const std::byte*>(args.x) +
                          static_cast<std::size_t>(n * args.x_stride + first) * dtype_bytes(args.x_type);
    kernel_for(kPrepare, level)({x, args.x_type, part.cols, &part, &row, 0, 1});
  }
}

void gemm(const GemmArgs& args, Level level) { kernel_for(kKernels, level)(args); }
unsigned gemm_levels() { return kernel_levels(kKernels); }

bool gemm_has_pairs(Level level) { return kernel_for(kPairPanel, level) != nullptr; }
void gemm_pair_panel(const float* panel, long cols, std::byte* out, Level level) {
  kernel_for(kPairPanel, level)(panel, cols, out);
}

}  // namespace outrider::ops
