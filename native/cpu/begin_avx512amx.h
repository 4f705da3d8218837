// Opens a region compiled for AVX-512 F, BW, DQ, VL, VNNI, BF16 and AMX TILE, INT8, BF16 inside namespace
// outrider::avx512amx. No include guard on purpose: each kernel file opens one region and closes it with cpu/end.h.
// Include everything else first.
#include <immintrin.h>

#include <cstdint>

#if defined(__clang__)
#pragma clang attribute push(                                                                                        \
    __attribute__((target(                                                                                           \
        "amx-tile,amx-int8,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c,bmi2"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target( \
    "amx-tile,amx-int8,amx-bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c,bmi2")
#endif

#define OUTRIDER_HAS_VNNI 1
#define OUTRIDER_HAS_BF16 1

namespace outrider::avx512amx {

#include "cpu/avx512_lanes.h"
#include "cpu/amx_tiles.h"
