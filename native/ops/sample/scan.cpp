#include "ops/sample/scan.h"

namespace outrider::ops {
namespace {

struct Scans {
  void (*largest)(ScanArgs&);
  void (*least)(ScanArgs&);
  void (*noise)(ScanArgs&);
  void (*mass)(ScanArgs&);
};

constexpr Kernel<Scans> kKernels[] = {
#ifdef __x86_64__
    {Level::kAvx512f, {avx512f::scan_largest, avx512f::scan_least, avx512f::scan_noise, avx512f::scan_mass}},
    {Level::kAvx2, {avx2::scan_largest, avx2::scan_least, avx2::scan_noise, avx2::scan_mass}},
#endif
    {Level::kRef, {ref::scan_largest, ref::scan_least, ref::scan_noise, ref::scan_mass}},
};

}  // namespace

void scan_largest(ScanArgs& args, Level level) { kernel_for(kKernels, level).largest(args); }
void scan_least(ScanArgs& args, Level level) { kernel_for(kKernels, level).least(args); }
void scan_noise(ScanArgs& args, Level level) { kernel_for(kKernels, level).noise(args); }
void scan_mass(ScanArgs& args, Level level) { kernel_for(kKernels, level).mass(args); }
unsigned scan_levels() { return kernel_levels(kKernels); }

}  // namespace outrider::ops
