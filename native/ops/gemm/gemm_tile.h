// What the tiles of all formats share, included inside a level's region.
//
// Panels are multiplied in tiles of R rows x P panels. Each of four panels is a stream of its own for the memory
// system, and each decoded weight is used R times; levels with few registers take fewer panels. Accumulators live in
// registers. Many rows over many inputs go through the inputs in stretches that stay in cache; between them the sums
// wait in `out`. None of this changes the order of any output's sum.

// Activations of one tile row.
struct Row {
  const float* x;
  const std::uint32_t* pairs;
  const std::int8_t* q;
  const float* scale;
  const float* sum;
  const std::int32_t* start;
};

// Where a tile stands: its first row and panel, from one of its panels to the next, and the stretch of inputs (of
// groups if affine, of pairs if bf16) it takes.
struct Place {
  long row, panel, step;
  long begin, end;
  bool first, last;  // the stretch starts the sums, finishes them
  bool ahead;        // weights come from memory, and are worth asking for before their turn
};

// Bytes from the weights in hand to those that are asked for meanwhile: processors look ahead by themselves, but not
// far enough to keep memory at work.
constexpr long kAhead = 2048;

// Asks for a line of each panel. No branch where nothing is to be asked for: the compiler would make two loops of it,
// and a line that is asked for in its turn costs next to nothing.
template <int P>
static inline void ask_for(const std::byte* const (&w)[P], long at, const Place& t) {
  const long ahead = t.ahead ? kAhead : 0;
  OUTRIDER_UNROLL
  for (int p = 0; p < P; ++p) __builtin_prefetch(w[p] + at + ahead);
}

template <int R, int P>
static inline void open_tile(const ops::GemmArgs& args, const Place& t, F (*total)[P]) {
  OUTRIDER_UNROLL
  for (int r = 0; r < R; ++r) {
    OUTRIDER_UNROLL
    for (int p = 0; p < P; ++p) {
      if (t.first) {
        total[r][p] = f_zero();
        continue;
      }
      const long m = (t.panel + p * t.step) * kPanelRows, left = args.w->layout.rows - m;
      total[r][p] =
          f_load_to(args.out + (t.row + r) * args.out_stride + m, left < kLanes ? static_cast<int>(left) : kLanes);
    }
  }
}

template <int R, int P>
static inline void close_tile(const ops::GemmArgs& args, const Place& t, const F (*total)[P]) {
  const bool biased = t.last && args.bias != nullptr;
  OUTRIDER_UNROLL
  for (int p = 0; p < P; ++p) {
    const long m = (t.panel + p * t.step) * kPanelRows, left = args.w->layout.rows - m;
    const int lanes = left < kLanes ? static_cast<int>(left) : kLanes;
    const F bias = biased ? f_load_to(args.bias + m, lanes) : f_zero();
    OUTRIDER_UNROLL
    for (int r = 0; r < R; ++r) {
      f_store_to(args.out + (t.row + r) * args.out_stride + m, biased ? f_add(total[r][p], bias) : total[r][p], lanes);
    }
  }
}
