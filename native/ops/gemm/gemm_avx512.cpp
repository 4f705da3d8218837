#include "ops/gemm/gemm.h"
#ifdef __x86_64__
#include "cpu/unroll.h"
#include "cpu/begin_avx512.h"
#include "ops/gemm/gemm_tile.h"
#include "ops/gemm/gemm_multiply.h"
#include "ops/gemm/gemm_prepare.h"
#include "ops/gemm/gemm_pairs.h"

// bf16 weights times bf16 activations in two-way dot products: 6 rows x 4 panels of sums, 4 registers of weights, 1 of
// activations.
struct Bf16Kind {
  static constexpr int kRows = 6, kPanels = 4;
  static long units(const PackedLayout& layout) { return (layout.cols + 1) / 2; }
  template <int R, int P>
  static void tile(const ops::GemmArgs& args, const Row (&rows)[R], const std::byte* const (&w)[P], const Place& t) {
    F acc[R][P];
    open_tile<R, P>(args, t, acc);
    const long whole = args.w->layout.cols / 2 < t.end ? args.w->layout.cols / 2 : t.end;
    const auto step = [&](long pair, const I(&weight)[P]) OUTRIDER_INLINE {
      OUTRIDER_UNROLL
      for (int r = 0; r < R; ++r) {
        const I x = i_set1(static_cast<std::int32_t>(rows[r].pairs[pair]));
        OUTRIDER_UNROLL
        for (int p = 0; p < P; ++p) acc[r][p] = f_dot2(acc[r][p], weight[p], x);
      }
    };
    I weight[P];
    for (long pair = t.begin; pair < whole; ++pair) {
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) weight[p] = i_load(w[p] + pair * 64);
      ask_for<P>(w, pair * 64, t);
      step(pair, weight);
    }
    if (whole < t.end) {  // the last input of an odd K
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) weight[p] = i_load_u16(w[p] + whole * 64);
      step(whole, weight);
    }
    close_tile<R, P>(args, t, acc);
  }
};

// The other formats have nothing to gain from this level.
void gemm(const ops::GemmArgs& args) {
  if (args.input->mode == ops::Rounding::kBF16) {
    multiply<Bf16Kind>(args);
  } else {
    avx512vnni::gemm(args);
  }
}
#include "cpu/end.h"
#endif
