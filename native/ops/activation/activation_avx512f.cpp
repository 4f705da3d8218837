#include "ops/activation/activation.h"
#ifdef __x86_64__
#include "cpu/begin_avx512f.h"
#include "ops/activation/activation_simd.h"
#include "cpu/end.h"
#endif
