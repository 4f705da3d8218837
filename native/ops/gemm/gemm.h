// Activations times packed weights.
//
//   out[n,m] = sum_k x[n,k] * w[m,k] + bias[m]
//
// Affine weights w[m,k] = scale[m,g] * u[m,k] + zero[m,g], g = k / group, never leave their codes:
//
//   out[n,m] = sum_g scale[m,g] * (sum_{k in g} u[m,k] x[n,k]) + zero[m,g] * (sum_{k in g} x[n,k])
//
// With zero[m,g] = -zero_point scale[m,g] both sums share a factor, and their difference in int8 mode is an integer:
//
//   out[n,m] = sum_g scale[m,g] * (sum_{k in g} u[m,k] x[n,k] - zero_point sum_{k in g} x[n,k])
//
// Three arithmetic modes. Float: x stays f32. Int8, for affine weights: x is rounded per row and group to x ~ s * q
// with s = max|x| / 127 and q in -127..127, so that the inner sum is exact in integers. BF16, for bf16 weights: x is
// rounded to bf16, products are exact. Source: the affine family is that of decoupleQ (arXiv:2404.12759, equation 2);
// per-group dynamic int8 activations are common practice. Dims:   N rows of activations, M outputs, K inputs, G groups
// per row of weights.
//
// Work is in two steps so that projections of the same input share the first: gemm_prepare lays x out for a weight
// layout, gemm multiplies a run of panels of 16 outputs. Both may be split over threads, by rows and by panels. A row's
// result does not depend on N, on the split, or on other rows, unless `any_order` lets it: for each output the k sum
// runs in order within a group and the g sum in order of groups, whatever the tile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/dtype.h"
#include "cpu/level.h"
#include "formats/packed.h"

namespace outrider::ops {

// Longest group of int8 mode: 65536 products of codes up to 255 and activations up to 127 stay below 2^31.
constexpr long kMaxInt8Group = 65536;

enum class Rounding : std::uint8_t { kNone, kInt8, kBF16 };

// How activations may be rounded for weights of a format: to int8 if affine, to bf16 for bf16.
constexpr Rounding rounding_of(WeightFormat format) {
  return is_affine(format) ? Rounding::kInt8 : format == WeightFormat::kBF16 ? Rounding::kBF16 : Rounding::kNone;
}

// Activations laid out for weights with the same group and padding, by gemm_prepare of one level for gemm of the same
// level.
struct GemmInput {
  Rounding mode = Rounding::kNone;
  long N = 0;
  long padded_cols = 0, groups = 0;
  // Arrays of other modes point somewhere inside the block, so that a row of any is an address.
  float* x = nullptr;              // [N, padded_cols]      float mode, and bf16 mode on levels without bf16 products
  std::uint32_t* pairs = nullptr;  // [N, padded_cols / 2]  bf16 mode, in the memory of x
  std::int8_t* q = nullptr;        // [N, padded_cols]      int8 mode
  float* scale = nullptr;          // [N, groups]           int8 mode
  float* sum = nullptr;            // [N, groups]           sum of x over the group: of s * q in int8 mode
  std::int32_t* start = nullptr;   // [N, groups]           int8 mode with a zero point, in the memory of sum:
                                   //                       -zero_point times the sum of q over the group

  // Bytes of the one block that place() divides among the arrays above.
  static std::size_t bytes(const PackedLayout& layout, long N, Rounding mode);
  static GemmInput place(const PackedLayout& layout, long N, Rounding mode, std::byte* block);
  // True if weights of `layout` can use activations prepared for `other` in the mode both take.
  static bool compatible(const PackedLayout& layout, const PackedLayout& other);
};

struct GemmPrepareArgs {
  const void* x;  // [N, K] in x_type, rows x_stride elements apart
  DType x_type;   // kF32, kF16 or kBF16
  long x_stride;
  const PackedLayout* layout;
  GemmInput* input;  // rows [row_begin, row_end) are written
  long row_begin, row_end;
};

struct GemmArgs {
  const PackedMatrix* w;   // [M, K]
  const GemmInput* input;  // [N, K] prepared for w's layout
  const float* bias;       // [M]; null: none
  float* out;              // [N, M], rows out_stride apart; columns of panels [panel_begin, panel_end) are overwritten
  long out_stride;
  long panel_begin, panel_end;
  // bf16 mode: sums may be taken in any order, and a row's bits may depend on N.
  bool any_order = false;
};

// Shapes are preconditions, and so are groups of at most kMaxInt8Group in int8 mode. Reentrant. x must be finite in
// int8 mode for a useful result; NaN and Inf give NaN outputs. Cost: 2 N M K flops; weights are read from memory once,
// and once more from cache for each tile of rows (8 at most, 16 of AMX).
void gemm_prepare(const GemmPrepareArgs& args, Level level);
// The same for groups [group_begin, group_end) of affine weights alone: whoever made these columns of x has them in
// cache.
void gemm_prepare_groups(const GemmPrepareArgs& args, long group_begin, long group_end, Level level);
void gemm(const GemmArgs& args, Level level);
unsigned gemm_levels();
// Whether a level multiplies bf16 in pairs; then an f32 panel [cols][16] rounded to the bf16 panel of formats/packed.h.
bool gemm_has_pairs(Level level);
void gemm_pair_panel(const float* panel, long cols, std::byte* out, Level level);

}  // namespace outrider::ops

#define OUTRIDER_DECLARE(level)                        \
  namespace outrider::level {                          \
  void gemm_prepare(const ops::GemmPrepareArgs& args); \
  void gemm(const ops::GemmArgs& args);                \
  }
OUTRIDER_DECLARE(ref)
OUTRIDER_DECLARE(avx2)
OUTRIDER_DECLARE(avx2vnni)
OUTRIDER_DECLARE(avx512f)
OUTRIDER_DECLARE(avx512vnni)
OUTRIDER_DECLARE(avx512)
#undef OUTRIDER_DECLARE
namespace outrider::avx512 {
void pair_panel(const float* panel, long cols, std::byte* out);
}  // namespace outrider::avx512
namespace outrider::avx512amx {
void gemm(const ops::GemmArgs& args);  // gemm_prepare is that of avx512
}
