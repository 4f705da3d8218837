#include "ops/kv_write/kv_write.h"

namespace outrider::ops {
namespace {

constexpr Kernel<void (*)(const KvWriteArgs&)> kKernels[] = {
#ifdef __x86_64__
    {Level::kAvx512f, avx512f::kv_write},
    {Level::kAvx2, avx2::kv_write},
#endif
    {Level::kRef, ref::kv_write},
};

}  // namespace

void kv_write(const KvWriteArgs& args, Level level) { kernel_for(kKernels, level)(args); }
unsigned kv_write_levels() { return kernel_levels(kKernels); }

}  // namespace outrider::ops
