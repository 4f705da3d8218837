// The order of tiles, included inside a level's region after the tiles. A kind of tile is
//
//   struct Kind {
//     static constexpr int kRows, kPanels;                                   the largest tile
//     template <int R, int P> static void tile(args, rows, weights, place);
//     static long units(layout);                                             what a stretch of inputs is counted in
//   };

// Bytes of weights of a tile that many rows come back to: half of a 1 MiB second-level cache.
constexpr std::size_t kStretchBytes = 384 * 1024;

template <typename Kind, int R, int P>
static void run_tile(const ops::GemmArgs& args, const Place& t) {
  const ops::GemmInput& in = *args.input;
  Row rows[R];
  for (int r = 0; r < R; ++r) {
    const long n = t.row + r;
    rows[r] = {in.x + n * in.padded_cols, in.pairs + n * in.padded_cols / 2,
               in.q + n * in.padded_cols, in.scale + n * in.groups,
               in.sum + n * in.groups,    in.start + n * in.groups};
  }
  const std::byte* w[P];
  for (int p = 0; p < P; ++p)
    w[p] = args.w->data + static_cast<std::size_t>(t.panel + p * t.step) * args.w->layout.panel_stride;
  Kind::template tile<R, P>(args, rows, w, t);
}

// The tile of `count` rows, at most R.
template <typename Kind, int R, int P>
static void tile_of(const ops::GemmArgs& args, const Place& t, long count) {
  if constexpr (R > 1) {
    if (count < R) return tile_of<Kind, R - 1, P>(args, t, count);
  }
  run_tile<Kind, R, P>(args, t);
}

// All rows of P panels in tiles of nearly equal height: 7 rows are 4 and 3, never 6 and 1.
template <typename Kind, int P>
static void strip(const ops::GemmArgs& args, long panel) {
  constexpr int R = Kind::kRows;
  const long N = args.input->N, tiles = (N + R - 1) / R, units = Kind::units(args.w->layout);
  const std::size_t bytes = static_cast<std::size_t>(P) * args.w->layout.panel_stride;
  long stretches = tiles == 1 ? 1 : static_cast<long>((bytes + kStretchBytes - 1) / kStretchBytes);
  stretches = stretches < units ? stretches : units;
  for (long s = 0; s < stretches; ++s) {
    Place t{0, panel, 1, units * s / stretches, units * (s + 1) / stretches, s == 0, s + 1 == stretches};
    for (long i = 0; i < tiles; ++i) {
      const long next = N * (i + 1) / tiles;
      tile_of<Kind, R, P>(args, t, next - t.row);
      t.row = next;
    }
  }
}

template <typename Kind>
static void multiply(const ops::GemmArgs& args) {
  const long end = args.panel_end, units = Kind::units(args.w->layout);
  long panel = args.panel_begin;
  const long N = args.input->N;
  if (N == 1 || (Kind::kPanels == 4 && N <= Kind::kRows)) {
    // Few rows are bound by memory: four streams that run on from tile to tile, each through a quarter of the panels.
    constexpr int R = Kind::kPanels == 4 ? Kind::kRows : 1;
    const long quarter = (end - panel) / 4;
    Place t{0, panel, quarter, 0, units, true, true};
    for (long i = 0; i < quarter; ++i, ++t.panel) tile_of<Kind, R, 4>(args, t, N);
    t.panel = panel + 4 * quarter;
    t.step = 1;
    if (end - t.panel == 3) tile_of<Kind, R, 3>(args, t, N);
    if (end - t.panel == 2) tile_of<Kind, R, 2>(args, t, N);
    if (end - t.panel == 1) tile_of<Kind, R, 1>(args, t, N);
    return;
  }
  for (; panel + Kind::kPanels <= end; panel += Kind::kPanels) strip<Kind, Kind::kPanels>(args, panel);
  if constexpr (Kind::kPanels > 2) {
    for (; panel + 2 <= end; panel += 2) strip<Kind, 2>(args, panel);
  }
  for (; panel < end; ++panel) strip<Kind, 1>(args, panel);
}
