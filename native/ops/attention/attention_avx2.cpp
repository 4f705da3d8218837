#include "ops/attention/attention.h"
#ifdef __x86_64__
#include "cpu/unroll.h"
#include "cpu/begin_avx2.h"
// One query row: 8 score registers and 8 of keys.
constexpr int kTile = 1, kDirect = 4;
#include "ops/attention/attention_simd.h"
#include "cpu/end.h"
#endif
