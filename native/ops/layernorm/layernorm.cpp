#include "ops/layernorm/layernorm.h"

namespace outrider::ops {
namespace {

constexpr Kernel<void (*)(const LayernormArgs&)> kKernels[] = {
#ifdef __x86_64__
    {Level::kAvx512f, avx512f::layernorm},
    {Level::kAvx2, avx2::layernorm},
#endif
    {Level::kRef, ref::layernorm},
};

}  // namespace

void layernorm(const LayernormArgs& args, Level level) { kernel_for(kKernels, level)(args); }
unsigned layernorm_levels() { return kernel_levels(kKernels); }

}  // namespace outrider::ops
