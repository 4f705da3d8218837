#include "ops/kv_write/kv_write.h"
#ifdef __x86_64__
#include "cpu/begin_avx2.h"
#include "ops/kv_write/kv_write_simd.h"
#include "cpu/end.h"
#endif
