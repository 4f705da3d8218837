#include "ops/rope/rope.h"

#include <cmath>

namespace outrider::ops {
namespace {

constexpr Kernel<void (*)(const RopeArgs&)> kKernels[] = {
#ifdef __x86_64__
    {Level::kAvx512f, avx512f::rope},
    {Level::kAvx2, avx2::rope},
#endif
    {Level::kRef, ref::rope},
};

}  // namespace

void rope_table(const std::int32_t* position, long T, const float* inv_freq, long half, float magnitude, float* cos,
                float* sin) {
  for (long t = 0; t < T; ++t) {
    for (long i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position[t]) * inv_freq[i];
      cos[t * half + i] = static_cast<float>(std::cos(static_cast<double>(angle))) * magnitude;
      sin[t * half + i] = static_cast<float>(std::sin(static_cast<double>(angle))) * magnitude;
    }
  }
}

void rope(const RopeArgs& args, Level level) { kernel_for(kKernels, level)(args); }
unsigned rope_levels() { return kernel_levels(kKernels); }

}  // namespace outrider::ops
