#include <cstdint>

#ifdef __x86_64__
#include "cpu/unroll.h"
#include "cpu/begin_avx512vnni.h"
constexpr int kSums = 12;
#include "cpu/peak_simd.h"
#include "cpu/end.h"
#endif
