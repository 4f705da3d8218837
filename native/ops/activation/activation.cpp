#include "ops/activation/activation.h"

namespace outrider::ops {
namespace {

constexpr Kernel<void (*)(const ActivationArgs&)> kKernels[] = {
#ifdef __x86_64__
    {Level::kAvx512f, avx512f::activation},
    {Level::kAvx2, avx2::activation},
#endif
    {Level::kRef, ref::activation},
};

}  // namespace

void activation(const ActivationArgs& args, Level level) { kernel_for(kKernels, level)(args); }
unsigned activation_levels() { return kernel_levels(kKernels); }

}  // namespace outrider::ops
