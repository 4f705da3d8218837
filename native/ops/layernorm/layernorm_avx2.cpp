#include "ops/layernorm/layernorm.h"
#ifdef __x86_64__
#include "cpu/begin_avx2.h"
#include "ops/layernorm/layernorm_simd.h"
#include "cpu/end.h"
#endif
