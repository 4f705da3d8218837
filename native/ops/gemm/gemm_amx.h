// Int8 products of affine weights in AMX tiles, included inside its level's region after gemm_affine.h.
//
// A plane of a packed block, decoded, is 16 outputs by 4 inputs: one row of the tile that TDPBSUD multiplies. 16
// planes, or those of a shorter group, are a tile of 64 inputs, and rows of int8 activations are the other one as they
// lie in memory. Sums of a group are exact integers and go to floats in the order of affine_tile: its results to the
// last bit.
//
// The weights of a strip of panels are decoded first and multiplied then: a tile that was written a moment ago costs
// twice as much to load. Totals of a panel and 16 rows stay in registers.

constexpr int kTileRows = 16;
constexpr long kTileInputs = 64, kTileBytes = 1024;
constexpr long kLeastRows = 16;  // of any product in tiles

// Panels of a strip, side by side so that outputs of a row fill whole runs of memory, and decoded tiles that its rows
// come back to, in the second-level cache.
constexpr long kStripPanels = 8, kKept = 256;

struct alignas(64) TileScratch {
  std::byte decoded[kKept][kTileBytes];
  I sums[kTileRows];
  const std::byte* tiles[kKept];  // where they are: most in `decoded`
};

// How groups of a layout are cut into tiles; the last one of a group is filled up with codes of 0.
struct TileCut {
  long inputs;  // of a tile
  long blocks;  // of weights in it
  long tiles;   // of a whole group
};

static TileCut cut_of(const PackedLayout& layout) {
  const long block = codes_per_block(layout.format), group = layout.group_blocks * block;
  const long inputs = group < kTileInputs ? group : kTileInputs;
  return {inputs, inputs / block, (group + inputs - 1) / inputs};
}

static inline long blocks_of(const PackedLayout& layout, long g) {
  return g + 1 < layout.groups ? layout.group_blocks : layout.last_blocks;
}

// tmm0: sums, tmm1: activations, tmm2: weights. Rows of activations are read to the end of their tile: past the last
// group into the next row, and past the last row into the scales behind it, always against codes of 0.
static TileShapes shapes_of(long rows, const TileCut& cut) {
  TileShapes shapes;
  shapes.row_bytes[0] = shapes.row_bytes[2] = 64;
  shapes.row_bytes[1] = static_cast<std::uint16_t>(cut.inputs);
  shapes.rows[0] = shapes.rows[1] = static_cast<std::uint8_t>(rows);
  shapes.rows[2] = static_cast<std::uint8_t>(cut.inputs / 4);
  return shapes;
}

// `blocks` of codes, filled up to a tile.
template <WeightFormat kFormat>
static inline void decode_tile(const std::byte* codes, long blocks, const TileCut& cut, std::byte* tile) {
  constexpr int kPlanes = codes_per_block(kFormat) / 4;
  std::byte* to = tile;
  for (long block = 0; block < blocks; ++block) {
    const std::byte* const from = codes + block * block_bytes(kFormat);
    for (int line = 0; line < block_bytes(kFormat); line += 64) __builtin_prefetch(from + line + kAhead);
    OUTRIDER_UNROLL
    for (int plane = 0; plane < kPlanes; ++plane) i_store(to + plane * 64, plane_of<kFormat>(from, plane));
    to += kPlanes * 64;
  }
  for (; to < tile + cut.inputs * 16; to += 64) i_store(to, i_zero());
}

// The weights of groups [t.begin, t.end) as scratch.tiles: [panel][group][tile of the group].
template <WeightFormat kFormat>
static void keep_tiles(const PackedMatrix& w, const TileCut& cut, const Place& t, long panels, TileScratch& scratch) {
  const PackedLayout& layout = w.layout;
  for (long g = t.begin; g < t.end; ++g) {
    const GroupPlace place = group_place(layout, g);
    const long blocks = blocks_of(layout, g);
    for (long tile = 0; tile * cut.blocks < blocks; ++tile) {
      const long first = tile * cut.blocks, left = blocks - first < cut.blocks ? blocks - first : cut.blocks;
      for (long p = 0; p < panels; ++p) {
        const long at = (p * (t.end - t.begin) + g - t.begin) * cut.tiles + tile;
        const std::byte* const codes = w.data + static_cast<std::size_t>(t.panel + p) * layout.panel_stride +
                                       place.codes + first * block_bytes(kFormat);
        if (kFormat == WeightFormat::kU8 && left == cut.blocks) {
          scratch.tiles[at] = codes;  // a tile as it is
          continue;
        }
        decode_tile<kFormat>(codes, left, cut, scratch.decoded[at]);
        scratch.tiles[at] = scratch.decoded[at];
      }
    }
  }
}

// Groups [t.begin, t.end) of R rows and panel t.panel.
template <bool kZeroPoint, int R>
static void tile_panel(const ops::GemmArgs& args, const TileCut& cut, const Place& t, const std::byte* const* tiles,
                       I* sums) {
  const PackedLayout& layout = args.w->layout;
  const ops::GemmInput& in = *args.input;
  const std::byte* const w = args.w->data + static_cast<std::size_t>(t.panel) * layout.panel_stride;
  const long G = in.groups, stride = in.padded_cols, inputs = cut.inputs, per = cut.tiles;
  const long step = layout.group_blocks * codes_per_block(layout.format), half = layout.header / 2;
  const long last = (layout.last_blocks + cut.blocks - 1) / cut.blocks;
  const std::int8_t* x = in.q + t.row * stride + t.begin * step;
  const float *x_scale = in.scale + t.row * G + t.begin, *x_sum = in.sum + t.row * G + t.begin;
  const std::int32_t* start = in.start + t.row * G + t.begin;
  const bool wide = layout.f32_scales;
  F total[R][1];
  open_tile<R, 1>(args, t, total);
  const auto add = [&](long g) OUTRIDER_INLINE {
    const std::byte* const scales = w + group_place(layout, g).scales;
    const F scale = parameter(wide, scales);
    [[maybe_unused]] const F zero = kZeroPoint ? f_zero() : parameter(wide, scales + half);
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      const I sum = kZeroPoint ? i_add(sums[r], i_set1(start[r * G])) : sums[r];
      const F dot = f_mul(i_to_f(sum), f_set1(x_scale[r * G]));
      total[r][0] = f_fma(scale, dot, total[r][0]);
      if constexpr (!kZeroPoint) total[r][0] = f_fma(zero, f_set1(x_sum[r * G]), total[r][0]);
    }
    ++x_scale;
    ++x_sum;
    ++start;
  };
  for (long g = t.begin; g < t.end; ++g) {
    tile_zero<0>();
    const long count = g + 1 < layout.groups ? per : last;
    for (long tile = 0; tile < count; ++tile) {
      tile_load<1>(x + tile * inputs, stride);
      tile_load<2>(tiles[tile], 64);
      tile_dot4<0, 1, 2>();
    }
    tile_store<0>(sums, 64);
    add(g);
    x += step;
    tiles += per;
  }
  close_tile<R, 1>(args, t, total);
}

// The same for `rows` of them, at most R and, as tiles are of nearly equal height, at least half of a tile's.
template <int R>
static void tile_panel_of(const ops::GemmArgs& args, const TileCut& cut, const Place& t, long rows,
                          const std::byte* const* tiles, I* sums) {
  if constexpr (R > kTileRows / 2) {
    if (rows < R) return tile_panel_of<R - 1>(args, cut, t, rows, tiles, sums);
  }
  args.w->layout.zero_point != 0 ? tile_panel<true, R>(args, cut, t, tiles, sums)
                                 : tile_panel<false, R>(args, cut, t, tiles, sums);
}

// All rows of some panels next to each other, in tiles of nearly equal height.
template <WeightFormat kFormat>
static void strip_of_tiles(const ops::GemmArgs& args, const TileCut& cut, long panel, long panels,
                           TileScratch& scratch) {
  const long N = args.input->N, heights = (N + kTileRows - 1) / kTileRows, groups = args.w->layout.groups;
  const long fits = kKept / (panels * cut.tiles);
  long shaped = 0;
  for (long begin = 0; begin < groups; begin += fits) {
    const long end = begin + fits < groups ? begin + fits : groups;
    Place t{0, panel, 1, begin, end, begin == 0, end == groups, true};
    keep_tiles<kFormat>(*args.w, cut, t, panels, scratch);
    for (long i = 0; i < heights; ++i) {
      const long next = N * (i + 1) / heights, rows = next - t.row;
      if (rows != shaped) tile_shapes(shapes_of(rows, cut));
      shaped = rows;
      for (long p = 0; p < panels; ++p) {
        t.panel = panel + p;
        tile_panel_of<kTileRows>(args, cut, t, rows, scratch.tiles + p * (end - begin) * cut.tiles, scratch.sums);
      }
      t.row = next;
    }
  }
}

// Null if there is no memory. Made by the first product that wants it: a thread_local of that size would cost every
// thread of every machine as much.
static TileScratch* scratch_of_thread() {
  static thread_local Buffer memory;
  if (!memory) memory = Buffer(sizeof(TileScratch));
  return memory.as<TileScratch>();
}

template <WeightFormat kFormat>
static void multiply_tiles(const ops::GemmArgs& args, TileScratch& scratch) {
  const TileCut cut = cut_of(args.w->layout);
  const long fits = kKept / cut.tiles, most = fits < kStripPanels ? fits : kStripPanels;
  for (long panel = args.panel_begin; panel < args.panel_end; panel += most) {
    const long left = args.panel_end - panel;
    strip_of_tiles<kFormat>(args, cut, panel, left < most ? left : most, scratch);
  }
  tile_release();
}

// Whether tiles are faster than dot products of vectors. What a group costs beside its products, decoding, loading and
// storing tiles, is the same for any number of rows up to 16: codes of 8 bits need no decoding, and groups of fewer
// inputs than a tile has pay as much for less.
static bool tiles_pay(const PackedLayout& layout, long rows) {
  static_assert(kLeastRows >= kTileRows);
  const TileCut cut = cut_of(layout);
  if (cut.tiles > kKept) return false;
  if (cut.inputs < kTileInputs) return rows >= 64;
  return rows >= (layout.format == WeightFormat::kU8 ? kLeastRows : 32);
}
