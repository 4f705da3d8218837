#include "ops/rmsnorm/rmsnorm.h"

namespace outrider::ops {
namespace {

constexpr Kernel<void (*)(const RmsnormArgs&)> kKernels[] = {
#ifdef __x86_64__
    {Level::kAvx512f, avx512f::rmsnorm},
    {Level::kAvx2, avx2::rmsnorm},
#endif
    {Level::kRef, ref::rmsnorm},
};

}  // namespace

void rmsnorm(const RmsnormArgs& args, Level level) { kernel_for(kKernels, level)(args); }
unsigned rmsnorm_levels() { return kernel_levels(kKernels); }

}  // namespace outrider::ops
