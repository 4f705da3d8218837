#include "ops/gemm/gemm.h"
#ifdef __x86_64__
#include "cpu/unroll.h"
#include "cpu/begin_avx512amx.h"
#include "ops/gemm/gemm_tile.h"
#include "ops/gemm/gemm_affine.h"
#include "ops/gemm/gemm_amx.h"

// Int8 products of many rows; the rest has nothing to gain from this level.
void gemm(const ops::GemmArgs& args) {
  if (args.input->mode != ops::Rounding::kInt8 || !tiles_pay(args.w->layout, args.input->N)) return avx512::gemm(args);
  switch (args.w->layout.format) {
    case WeightFormat::kU2:
      return multiply_tiles<WeightFormat::kU2>(args);
    case WeightFormat::kU3:
      return multiply_tiles<WeightFormat::kU3>(args);
    case WeightFormat::kU4:
      return multiply_tiles<WeightFormat::kU4>(args);
    case WeightFormat::kU8:
      return multiply_tiles<WeightFormat::kU8>(args);
    default:
      return avx512::gemm(args);
  }
}
#include "cpu/end.h"
#endif
