// Products of bf16 pairs in AMX tiles, included inside its level's region after gemm_amx.h.
//
// A packed panel is a column of tiles as it lies in memory, 16 pairs of inputs by 16 outputs, and so are prepared
// activations, 16 rows by 16 pairs. TDPBF16PS sums even and odd inputs of a tile apart, so the bits are not those of
// vectors: for callers that do not ask for them.

constexpr long kPairInputs = 32;            // of a tile
constexpr long kBlockRows = 2 * kTileRows;  // two tiles of rows by two panels share each load

// tmm0..3: sums of tile of rows r and panel p in 2 r + p; tmm4, 5: rows; tmm6, 7: panels.
static TileShapes pair_shapes(long rows, long more) {
  TileShapes shapes;
  for (int tile = 0; tile < 8; ++tile) {
    const bool second = tile == 2 || tile == 3 || tile == 5;
    shapes.row_bytes[tile] = 64;
    shapes.rows[tile] = static_cast<std::uint8_t>(tile >= 6 ? kTileRows : second ? more : rows);
  }
  return shapes;
}

// Sums of a tile into outputs, whole rows of it or the first of them.
template <int kSum>
static void put_tile(const ops::GemmArgs& args, long row, long rows, long panel) {
  const long m = panel * kPanelRows, left = args.w->layout.rows - m;
  float* const out = args.out + row * args.out_stride + m;
  if (left >= kLanes) return tile_store<kSum>(out, args.out_stride * static_cast<long>(sizeof(float)));
  alignas(64) F sums[kTileRows];
  tile_store<kSum>(sums, 64);
  for (long r = 0; r < rows; ++r) f_store_n(out + r * args.out_stride, sums[r], static_cast<int>(left));
}

// Rows [row, row + rows + more) of P panels, in a tile of `rows` and one of `more`.
template <int P>
static void pair_block(const ops::GemmArgs& args, long row, long rows, long more, long panel) {
  const ops::GemmInput& in = *args.input;
  const PackedLayout& layout = args.w->layout;
  const long stride = in.padded_cols * 2, steps = layout.cols / kPairInputs;
  const auto* x = reinterpret_cast<const std::byte*>(in.pairs) + row * stride;
  const std::byte* const w = args.w->data + static_cast<std::size_t>(panel) * layout.panel_stride;
  const std::byte* const next = w + layout.panel_stride;
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  for (long step = 0; step < steps; ++step, x += 64) {
    tile_load<6>(w + step * kTileBytes, 64);
    tile_load<4>(x, stride);
    tile_dot2<0, 4, 6>();
    tile_load<5>(x + rows * stride, stride);
    tile_dot2<2, 5, 6>();
    if constexpr (P == 2) {
      tile_load<7>(next + step * kTileBytes, 64);
      tile_dot2<1, 4, 7>();
      tile_dot2<3, 5, 7>();
    }
  }
  put_tile<0>(args, row, rows, panel);
  put_tile<2>(args, row + rows, more, panel);
  if constexpr (P == 2) {
    put_tile<1>(args, row, rows, panel + 1);
    put_tile<3>(args, row + rows, more, panel + 1);
  }
}

template <int P>
static void pair_panels(const ops::GemmArgs& args, long panel, long* shaped) {
  const long N = args.input->N, blocks = (N + kBlockRows - 1) / kBlockRows;
  for (long i = 0; i < blocks; ++i) {
    const long row = N * i / blocks, count = N * (i + 1) / blocks - row, rows = (count + 1) / 2;
    if (*shaped != count) tile_shapes(pair_shapes(rows, count - rows));
    *shaped = count;
    pair_block<P>(args, row, rows, count - rows, panel);
  }
}

// With so many rows a block is never less than two tiles of half their height.
static bool pair_tiles_pay(const ops::GemmArgs& args) {
  return args.any_order && args.bias == nullptr && args.input->N >= kLeastRows &&
         args.w->layout.cols % kPairInputs == 0;
}

static void multiply_pairs(const ops::GemmArgs& args) {
  long shaped = 0, panel = args.panel_begin;
  for (; panel + 2 <= args.panel_end; panel += 2) pair_panels<2>(args, panel, &shaped);
  if (panel < args.panel_end) pair_panels<1>(args, panel, &shaped);
  tile_release();
}
