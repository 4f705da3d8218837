// The vector body, included inside a level's region by gemm_avx2.cpp and its kin, which define kTileInt8 and
// kTileFloat (rows and panels of a tile).
#include "ops/gemm/gemm_tile.h"
#include "ops/gemm/gemm_dense.h"
#include "ops/gemm/gemm_affine.h"
#include "ops/gemm/gemm_multiply.h"
#include "ops/gemm/gemm_prepare.h"

template <WeightFormat kFormat>
struct DenseKind {
  static constexpr int kRows = kTileFloat.rows, kPanels = kTileFloat.panels;
  // Pairs of inputs; the last may be half.
  static long units(const PackedLayout& layout) { return (layout.cols + 1) / 2; }
  template <int R, int P>
  static void tile(const ops::GemmArgs& args, const Row (&rows)[R], const std::byte* const (&w)[P], const Place& t) {
    Place inputs = t;
    inputs.begin *= 2;
    inputs.end = 2 * t.end < args.w->layout.cols ? 2 * t.end : args.w->layout.cols;
    dense_tile<kFormat, R, P>(args, rows, w, inputs);
  }
};

template <WeightFormat kFormat, bool kInt8, bool kZeroPoint>
struct AffineKind {
  static constexpr Tile kTile = kInt8 ? kTileInt8 : kTileFloat;
  static constexpr int kRows = kTile.rows, kPanels = kTile.panels;
  static long units(const PackedLayout& layout) { return layout.groups; }
  template <int R, int P>
  static void tile(const ops::GemmArgs& args, const Row (&rows)[R], const std::byte* const (&w)[P], const Place& t) {
    affine_tile<kFormat, kInt8, kZeroPoint, R, P>(args, rows, w, t);
  }
};

template <WeightFormat kFormat, bool kZeroPoint>
static void multiply_affine(const ops::GemmArgs& args) {
  if (args.input->mode == ops::Rounding::kInt8)
    multiply<AffineKind<kFormat, true, kZeroPoint>>(args);
  else
    multiply<AffineKind<kFormat, false, kZeroPoint>>(args);
}

void gemm(const ops::GemmArgs& args) {
  const bool zero_point = args.w->layout.zero_point != 0;
  switch (args.w->layout.format) {
    case WeightFormat::kF32:
      return multiply<DenseKind<WeightFormat::kF32>>(args);
    case WeightFormat::kF16:
      return multiply<DenseKind<WeightFormat::kF16>>(args);
    case WeightFormat::kBF16:
      return multiply<DenseKind<WeightFormat::kBF16>>(args);
    case WeightFormat::kU2:
      return multiply_affine<WeightFormat::kU2, false>(args);
    case WeightFormat::kU3:
      return multiply_affine<WeightFormat::kU3, false>(args);
    case WeightFormat::kU4:
      return zero_point ? multiply_affine<WeightFormat::kU4, true>(args)
                        : multiply_affine<WeightFormat::kU4, false>(args);
    case WeightFormat::kU8:
      return zero_point ? multiply_affine<WeightFormat::kU8, true>(args)
                        : multiply_affine<WeightFormat::kU8, false>(args);
  }
}
