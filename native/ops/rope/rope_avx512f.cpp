#include "ops/rope/rope.h"
#ifdef __x86_64__
#include "cpu/begin_avx512f.h"
#include "ops/rope/rope_simd.h"
#include "cpu/end.h"
#endif
