#include "ops/gemm/gemm.h"
#ifdef __x86_64__
#include "cpu/unroll.h"
#include "cpu/begin_avx512vnni.h"
// Of the 32 registers: 6 rows x 4 panels of integer sums leave 8 for codes, activations and constants; float tiles need
// more of those, for converted weights.
struct Tile {
  int rows, panels;
};
constexpr Tile kTileInt8{6, 4}, kTileFloat{8, 2};
#include "ops/gemm/gemm_simd.h"
#include "cpu/end.h"
#endif
