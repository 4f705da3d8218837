#include "ops/sample/scan.h"

namespace outrider::ops {
namespace {

constexpr Kernel<Scans (*)()> kKernels[] = {
#ifdef __x86_64__
    {Level::kAvx512f, avx512f::scans},
    {Level::kAvx2, avx2::scans},
#endif
    {Level::kRef, ref::scans},
};

}  // namespace

Scans scans_of(Level level) { return kernel_for(kKernels, level)(); }
unsigned scan_levels() { return kernel_levels(kKernels); }

}  // namespace outrider::ops
