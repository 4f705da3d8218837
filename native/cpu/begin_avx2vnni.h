// Opens a region compiled for AVX2 + FMA + F16C + AVX-VNNI inside namespace outrider::avx2vnni. No include guard on
// purpose: each kernel file opens one region and closes it with cpu/end.h. Include everything else first.
#include <immintrin.h>

#include <cstdint>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi2,avxvnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2,avxvnni")
#endif

#define OUTRIDER_HAS_VNNI 1

namespace outrider::avx2vnni {

#include "cpu/avx2_lanes.h"
