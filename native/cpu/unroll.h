// Unrolls the next loop completely. Tiles of vectors stay in registers only if every index is a constant.
#pragma once

#if defined(__clang__)
#define OUTRIDER_UNROLL _Pragma("clang loop unroll(full)")
#else
#define OUTRIDER_UNROLL _Pragma("GCC unroll 32")
#endif
