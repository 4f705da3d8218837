// Products of bf16 pairs in AMX tiles, included inside its level's region after gemm_tile.h.
//
// A packed panel is a column of tiles as it lies in memory, 16 pairs of inputs by 16 outputs, and so are prepared
// activations, 16 rows by 16 pairs. TDPBF16PS sums even and odd inputs of a tile apart, so the bits are not those of
// vectors: for callers that do not ask for them.

constexpr long kPairInputs = 32, kPairTileBytes = 1024;
constexpr long kBlockRows = 32;  // two tiles of rows by two panels share each load

// tmm0..3: sums of rows r and panel p in 2 r + p; tmm4, 5: rows; tmm6, 7: panels.
static TileShapes pair_shapes(long rows, long more) {
  TileShapes shapes;
  for (int tile = 0; tile < 8; ++tile) {
    const bool second = tile == 2 || tile == 3 || tile == 5;
    shapes.row_bytes[tile] = 64;
    shapes.rows[tile] = static_cast<std::uint8_t>(tile >= 6 ? 16 : second ? more : rows);
  }
  return shapes;
}

// Sums of a tile into outputs, whole or the first of a row.
template <int kSum>
static void put_tile(const ops::GemmArgs& args, long row, long rows, long panel) {
  const long m = panel * kPanelRows, left = args.w->layout.rows - m;
  float* const out = args.out + row * args.out_stride + m;
  const int lanes = left < kLanes ? static_cast<int>(left) : kLanes;
  if (lanes == kLanes && args.bias == nullptr) return tile_store<kSum>(out, args.out_stride * 4);
  alignas(64) F sums[16];
  tile_store<kSum>(sums, 64);
  const F bias = args.bias != nullptr ? f_load_to(args.bias + m, lanes) : f_zero();
  for (long r = 0; r < rows; ++r) f_store_to(out + r * args.out_stride, f_add(sums[r], bias), lanes);
}

// Rows [row, row + rows + more) of P panels; R = 2 if there are `more` than one tile of rows.
template <int R, int P>
static void pair_block(const ops::GemmArgs& args, long row, long rows, long more, long panel) {
  const ops::GemmInput& in = *args.input;
  const PackedLayout& layout = args.w->layout;
  const long stride = in.padded_cols * 2, steps = layout.cols / kPairInputs;
  const auto* x = reinterpret_cast<const std::byte*>(in.pairs) + row * stride;
  const std::byte* w = args.w->data + static_cast<std::size_t>(panel) * layout.panel_stride;
  const std::byte* const next = w + layout.panel_stride;
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  for (long step = 0; step < steps; ++step, x += 64) {
    tile_load<6>(w + step * kPairTileBytes, 64);
    if constexpr (P == 2) tile_load<7>(next + step * kPairTileBytes, 64);
    tile_load<4>(x, stride);
    tile_dot2<0, 4, 6>();
    if constexpr (P == 2) tile_dot2<1, 4, 7>();
    if constexpr (R == 2) {
      tile_load<5>(x + rows * stride, stride);
      tile_dot2<2, 5, 6>();
      if constexpr (P == 2) tile_dot2<3, 5, 7>();
    }
  }
  put_tile<0>(args, row, rows, panel);
  if constexpr (P == 2) put_tile<1>(args, row, rows, panel + 1);
  if constexpr (R == 2) put_tile<2>(args, row + rows, more, panel);
  if constexpr (R == 2 && P == 2) put_tile<3>(args, row + rows, more, panel + 1);
}

template <int P>
static void pair_panels(const ops::GemmArgs& args, long panel, long* shaped) {
  const long N = args.input->N, blocks = (N + kBlockRows - 1) / kBlockRows;
  for (long i = 0; i < blocks; ++i) {
    const long row = N * i / blocks, count = N * (i + 1) / blocks - row;
    const long rows = count < 16 ? count : (count + 1) / 2, more = count - rows;
    if (*shaped != count) tile_shapes(pair_shapes(rows, more > 0 ? more : 1));
    *shaped = count;
    more > 0 ? pair_block<2, P>(args, row, rows, more, panel) : pair_block<1, P>(args, row, rows, 0, panel);
  }
}

// Rows and inputs that whole tiles pay for.
static bool pair_tiles_pay(const ops::GemmArgs& args) {
  return args.any_order && args.input->N >= 16 && args.w->layout.cols % kPairInputs == 0;
}

static void multiply_pairs(const ops::GemmArgs& args) {
  long shaped = 0, panel = args.panel_begin;
  for (; panel + 2 <= args.panel_end; panel += 2) pair_panels<2>(args, panel, &shaped);
  if (panel < args.panel_end) pair_panels<1>(args, panel, &shaped);
  tile_release();
}
