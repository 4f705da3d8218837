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

// A page of f32 assembled for a tree row, and accumulators [tile rows, D] with their two statistics; the vector kernels
// keep at most 8 query rows in flight.
std::size_t attention_work_bytes(long, long, long D) {
  const auto d = static_cast<std::size_t>((D + 15) / 16 * 16);
  return kv_page_bytes(D, DType::kF32) + 8 * d * sizeof(float) + 8 * kPageTokens * sizeof(float) + 256;
}

void attention(const AttentionArgs& args, Level level) { kernel_for(kKernels, level)(args); }
unsigned attention_levels() { return kernel_levels(kKernels); }

}  // namespace outrider::ops
