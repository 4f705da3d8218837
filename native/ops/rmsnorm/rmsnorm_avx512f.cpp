#include "ops/rmsnorm/rmsnorm.h"
#ifdef __x86_64__
#include "cpu/begin_avx512f.h"
#include "ops/rmsnorm/rmsnorm_simd.h"
#include "cpu/end.h"
#endif
