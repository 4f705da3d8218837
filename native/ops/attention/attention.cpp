#include "ops/attention/attention.h"

namespace outrider::ops {
namespace {

using Attention = void (*)(const AttentionArgs&);

constexpr Kernel<Attention> kKernels[] = {
#ifdef __x86_64__
    {Level::kAvx512, avx512::attention},
    {Level::kAvx512f, avx512f::attention},
    {Level::kAvx2, avx2::attention},
#endif
    {Level::kRef, ref::attention},
};

constexpr Kernel<Attention> kMerge[] = {
#ifdef __x86_64__
    {Level::kAvx512, avx512::attention_merge},
    {Level::kAvx512f, avx512f::attention_merge},
    {Level::kAvx2, avx2::attention_merge},
#endif
    {Level::kRef, nullptr},
};

constexpr std::size_t padded_head(long D) { return static_cast<std::size_t>((D + 15) / 16 * 16); }

}  // namespace

// Of all query rows that walk together: sums of a segment, sums of those before it, weights of a block, and the query
// in pairs of bf16; then, where they are needed, two pages of f32: one assembled for tree rows and one converted.
std::size_t attention_work_bytes(long N, long H, long G, long D, bool tree) {
  const std::size_t d = padded_head(D);
  const auto queries = static_cast<std::size_t>(attention_queries(N * (H / G)));
  const std::size_t pages = tree || queries > kFewQueries ? 2 * 2 * kPageTokens * d : 0;
  return ((queries * (3 * d + kPageTokens) + pages) * sizeof(float) + 63) / 64 * 64 + 64;
}

std::size_t attention_parts_floats(long queries, long segments, long D) {
  return static_cast<std::size_t>(queries * segments) * (padded_head(D) + 16);
}

void attention(const AttentionArgs& args, Level level) { kernel_for(kKernels, level)(args); }
void attention_merge(const AttentionArgs& args, Level level) { kernel_for(kMerge, level)(args); }
bool attention_splits(Level level) { return kernel_for(kMerge, level) != nullptr; }
unsigned attention_levels() { return kernel_levels(kKernels); }

}  // namespace outrider::ops
