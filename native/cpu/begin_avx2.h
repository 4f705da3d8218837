// Opens a region compiled for AVX2 + FMA + F16C inside namespace outrider::avx2. No include guard on purpose: each
// kernel file opens one region and closes it with cpu/end.h. Include everything else first.
#include <immintrin.h>

#include <cstdint>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")
#endif

namespace outrider::avx2 {

#include "cpu/avx2_lanes.h"
