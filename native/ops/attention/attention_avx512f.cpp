#include "ops/attention/attention.h"
#ifdef __x86_64__
#include "cpu/unroll.h"
#include "cpu/begin_avx512f.h"
// Four query rows: 16 score registers and 4 of keys.
constexpr int kTile = 4, kDirect = 24;
#include "ops/attention/attention_simd.h"
#include "cpu/end.h"
#endif
