#include "ops/attention/attention.h"

namespace outrider::ops {
namespace {

constexpr Kernel<void (*)(const AttentionArgs&)> kKernels[] = {
#ifdef __x86_64__
    {Level::kAvx512, avx512::attention},
    {Level::kAvx2, avx2::attention},
#endif
    {Level::kRef, ref::attention},
};

}  // namespace

// Two pages of f32, one assembled for a tree row and one converted, then accumulators and weights of all query rows.
std::size_t attention_work_bytes(long, long, long D) {
  const auto d = static_cast<std::size_t>((D + 15) / 16 * 16);
  const std::size_t bytes = 2 * kv_page_bytes(D, DType::kF32) + kAttentionQueries * (d + kPageTokens) * sizeof(float);
  return (bytes + 63) / 64 * 64 + 64;
}

void attention(const AttentionArgs& args, Level level) { kernel_for(kKernels, level)(args); }
unsigned attention_levels() { return kernel_levels(kKernels); }

}  // namespace outrider::ops
