#include "ops/gemm/gemm.h"
#ifdef __x86_64__
#include "base/buffer.h"
#include "cpu/unroll.h"
#include "cpu/begin_avx512amx.h"
#include "ops/gemm/gemm_tile.h"
#include "ops/gemm/gemm_affine.h"
#include "ops/gemm/gemm_amx.h"
#include "ops/gemm/gemm_amx_bf16.h"

// Int8 products of many rows, and bf16 ones in any order; the rest has nothing to gain from this level.
void gemm(const ops::GemmArgs& args) {
  if (args.input->mode == ops::Rounding::kBF16 && pair_tiles_pay(args)) return multiply_pairs(args);
  const bool pays = args.input->mode == ops::Rounding::kInt8 && tiles_pay(args.w->layout, args.input->N);
  TileScratch* const scratch = pays ? scratch_of_thread() : nullptr;
  if (scratch == nullptr) return avx512::gemm(args);
  switch (args.w->layout.format) {
    case WeightFormat::kU2:
      return multiply_tiles<WeightFormat::kU2>(args, *scratch);
    case WeightFormat::kU3:
      return multiply_tiles<WeightFormat::kU3>(args, *scratch);
    case WeightFormat::kU4:
      return multiply_tiles<WeightFormat::kU4>(args, *scratch);
    case WeightFormat::kU8:
      return multiply_tiles<WeightFormat::kU8>(args, *scratch);
    default:
      return avx512::gemm(args);
  }
}
#include "cpu/end.h"
#endif
