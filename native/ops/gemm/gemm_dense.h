// Tiles of f32, f16 and bf16 weights in f32 arithmetic, included inside a level's region after gemm_tile.h.

template <WeightFormat kFormat, int R, int P>
static inline void dense_step(const Row (&rows)[R], const F (&weight)[P], long k, F (&acc)[R][P]) {
  OUTRIDER_UNROLL
  for (int r = 0; r < R; ++r) {
    const F x = f_set1(rows[r].x[k]);
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) acc[r][p] = f_fma(weight[p], x, acc[r][p]);
  }
}

template <WeightFormat kFormat>
static inline F dense_weight(const std::byte* panel, long k) {
  if constexpr (kFormat == WeightFormat::kF32) return f_load(reinterpret_cast<const float*>(panel) + k * kPanelRows);
  const auto* values = reinterpret_cast<const std::uint16_t*>(panel) + k * kPanelRows;
  return kFormat == WeightFormat::kF16 ? f_load_f16(values) : f_load_bf16(values);
}

// Inputs [t.begin, t.end), t.begin even.
template <WeightFormat kFormat, int R, int P>
static inline void dense_tile(const ops::GemmArgs& args, const Row (&rows)[R], const std::byte* const (&w)[P],
                              const Place& t) {
  F acc[R][P];
  open_tile<R, P>(args, t, acc);
  F weight[P];
  long k = t.begin;
  if constexpr (kFormat == WeightFormat::kBF16) {
    const I upper = i_set1(static_cast<std::int32_t>(0xFFFF0000u));
    for (; k + 2 <= t.end; k += 2) {
      I pair[P];
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) pair[p] = i_load(w[p] + k * kPanelRows * 2);
      ask_for<P>(w, k * kPanelRows * 2, t);
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) weight[p] = i_as_f(i_shift_left(pair[p], 16));
      dense_step<kFormat, R, P>(rows, weight, k, acc);
      OUTRIDER_UNROLL
      for (int p = 0; p < P; ++p) weight[p] = i_as_f(i_and(pair[p], upper));
      dense_step<kFormat, R, P>(rows, weight, k + 1, acc);
    }
  }
  for (; k < t.end; ++k) {
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) weight[p] = dense_weight<kFormat>(w[p], k);
    ask_for<P>(w, k * kPanelRows * (kFormat == WeightFormat::kF32 ? 4 : 2), t);
    dense_step<kFormat, R, P>(rows, weight, k, acc);
  }
  close_tile<R, P>(args, t, acc);
}
