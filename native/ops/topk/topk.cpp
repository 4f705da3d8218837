#include "ops/topk/topk.h"

namespace outrider::ops {
namespace {

constexpr Kernel<void (*)(const TopkArgs&)> kKernels[] = {
#ifdef __x86_64__
    {Level::kAvx512f, avx512f::topk},
    {Level::kAvx2, avx2::topk},
#endif
    {Level::kRef, ref::topk},
};

}  // namespace

void topk(const TopkArgs& args, Level level) { kernel_for(kKernels, level)(args); }
unsigned topk_levels() { return kernel_levels(kKernels); }

}  // namespace outrider::ops
