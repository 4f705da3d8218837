#include "ops/topk/topk.h"
#include "ops/topk/topk_heap.h"
#ifdef __x86_64__
#include "cpu/begin_avx512f.h"
#include "ops/topk/topk_simd.h"
#include "cpu/end.h"
#endif
