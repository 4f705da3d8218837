#include "ops/softmax/softmax.h"

namespace outrider::ops {
namespace {

constexpr Kernel<void (*)(const SoftmaxArgs&)> kKernels[] = {
#ifdef __x86_64__
    {Level::kAvx512f, avx512f::softmax},
    {Level::kAvx2, avx2::softmax},
#endif
    {Level::kRef, ref::softmax},
};

}  // namespace

void softmax(const SoftmaxArgs& args, Level level) { kernel_for(kKernels, level)(args); }
unsigned softmax_levels() { return kernel_levels(kKernels); }

}  // namespace outrider::ops
