#include "ops/softmax/softmax.h"
#ifdef __x86_64__
#include "cpu/begin_avx512f.h"
#include "ops/softmax/softmax_simd.h"
#include "cpu/end.h"
#endif
