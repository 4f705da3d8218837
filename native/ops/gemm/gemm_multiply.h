// The order of tiles, included inside a level's region after the tiles. A kind of tile is
//
//   struct Kind {
//     static constexpr int kRows, kPanels;   the largest tile
//     template <int R, int P> static void tile(args, rows, weights, place);
//     static long units(layout);             what a stretch of inputs is counted in
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

// All rows of P panels, `step` apart, in tiles of nearly equal height: 7 rows are 4 and 3, never 6 and 1.
template <typename Kind, int R, int P>
static void strip(const ops::GemmArgs& args, long panel, long step) {
  const long N = args.input->N, tiles = (N + R - 1) / R, units = Kind::units(args.w->layout);
  const std::size_t bytes = static_cast<std::size_t>(P) * args.w->layout.panel_stride;
  long stretches = tiles == 1 ? 1 : static_cast<long>((bytes + kStretchBytes - 1) / kStretchBytes);
  stretches = stretches < units ? stretches : units;
  for (long s = 0; s < stretches; ++s) {
    Place t{0, panel, step, units * s / stretches, units * (s + 1) / stretches, s == 0, s + 1 == stretches, false};
    for (long i = 0; i < tiles; ++i) {
      const long next = N * (i + 1) / tiles;
      t.ahead = i == 0;
      tile_of<Kind, R, P>(args, t, next - t.row);
      t.row = next;
    }
  }
}

// Four streams that run on from tile to tile, each through a quarter of the panels: memory then works while products
// are summed. One row is bound by it, and of many rows the first tile of each strip.
template <typename Kind, int R>
static void streams(const ops::GemmArgs& args) {
  const long quarter = (args.panel_end - args.panel_begin) / 4;
  for (long i = 0; i < quarter; ++i) strip<Kind, R, 4>(args, args.panel_begin + i, quarter);
  const long panel = args.panel_begin + 4 * quarter, left = args.panel_end - panel;
  if (left == 3) strip<Kind, R, 3>(args, panel, 1);
  if (left == 2) strip<Kind, R, 2>(args, panel, 1);
  if (left == 1) strip<Kind, R, 1>(args, panel, 1);
}

template <typename Kind>
static void multiply(const ops::GemmArgs& args) {
  constexpr int R = Kind::kRows, P = Kind::kPanels;
  if (args.input->N == 1) return streams<Kind, 1>(args);
  static_assert(P == 1 || P == 2 || P == 4);
  if constexpr (P == 4) return streams<Kind, R>(args);
  long panel = args.panel_begin;
  for (; panel + P <= args.panel_end; panel += P) strip<Kind, R, P>(args, panel, 1);
  if (panel < args.panel_end) strip<Kind, R, 1>(args, panel, 1);
}
