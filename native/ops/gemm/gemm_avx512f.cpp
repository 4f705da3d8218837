#include "ops/gemm/gemm.h"
#ifdef __x86_64__
#include "cpu/unroll.h"
#include "cpu/begin_avx512f.h"
// Without VNNI a dot product takes registers for its steps.
struct Tile {
  int rows, panels;
};
constexpr Tile kTileInt8{4, 4}, kTileFloat{8, 2};
#include "ops/gemm/gemm_simd.h"
#include "cpu/end.h"
#endif
