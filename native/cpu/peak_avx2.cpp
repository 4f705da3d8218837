#include <cstdint>

#ifdef __x86_64__
#include "cpu/unroll.h"
#include "cpu/begin_avx2.h"
constexpr int kSums = 6;
#include "cpu/peak_simd.h"
#include "cpu/end.h"
#endif
