// Unrolls the next loop completely (OUTRIDER_UNROLL). Tiles of vectors stay in registers only if every index is a
// constant.
#pragma once

// Lambdas that hold a tile by reference must be inlined, or the tile lives in memory.
#define OUTRIDER_INLINE __attribute__((always_inline))

#if defined(__clang__)
#define OUTRIDER_UNROLL _Pragma("clang loop unroll(full)")
#else
#define OUTRIDER_UNROLL _Pragma("GCC unroll 32")
#endif
