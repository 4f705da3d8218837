#include "ops/gemm/gemm.h"
#ifdef __x86_64__
#include "cpu/unroll.h"
#include "cpu/begin_avx2vnni.h"
// 4 rows x 1 panel: 8 accumulators of the 16 registers.
struct Tile {
  int rows, panels;
};
constexpr Tile kTileInt8{4, 1}, kTileFloat{4, 1};
#include "ops/gemm/gemm_simd.h"
#include "cpu/end.h"
#endif
