#include "ops/gemm/gemm.h"
#ifdef __x86_64__
#include "cpu/unroll.h"
#include "cpu/begin_avx512.h"
// 8 rows x 2 panels: 16 accumulators of the 32 registers.
constexpr int kTileRows = 8, kTilePanels = 2;
#include "ops/gemm/gemm_simd.h"
#include "cpu/end.h"
#endif
