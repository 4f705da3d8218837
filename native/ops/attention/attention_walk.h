// The walk over blocks, included inside a level's region after attention_state.h. `Blocks` attends rows to one page:
//
//   static void attend(args, page, next, block_start, rows, count, wide)   next: the page after it, or null
//   static void prepare(row, D)                                            once for each query row
//
// All rows of up to kAttentionQueries queries of one KV head take a block while it is in cache.

// Rows that see nothing of this block skip it, as they would alone.
template <typename Blocks>
static inline void attend_shared(const ops::AttentionArgs& args, const std::byte* page, const std::byte* next,
                                 long block_start, Query* rows, int count, float* wide) {
  for (int r = 0; r < count;) {
    int run = r;
    while (run < count && rows[run].first < block_start + kPageTokens && rows[run].last >= block_start) ++run;
    if (run > r) Blocks::attend(args, page, next, block_start, rows + r, run - r, wide);
    r = run > r ? run : r + 1;
  }
}

// A 64-token page as the rows of a tree see it: committed slots as they are, and above the prefix the path of the row
// that looks. Only slots that change from row to row are copied.
struct TreePage {
  std::byte* page;
  long block_start;
  std::int32_t held[kPageTokens];  // scratch slot that each slot holds a copy of; -1: none

  void open(const ops::AttentionArgs& args, long g, long start) {
    block_start = start;
    for (std::int32_t& slot : held) slot = -1;
    if (start < args.prefix) {
      __builtin_memcpy(page, args.pages[start / kPageTokens] + static_cast<std::size_t>(g) * args.head_bytes,
                       kv_page_bytes(args.D, args.kv_type));
    }
  }
  void show(const ops::AttentionArgs& args, long n, long g, long last) {
    long j = args.prefix > block_start ? args.prefix : block_start;
    for (; j < block_start + kPageTokens && j <= last; ++j) {
      const std::int32_t from = args.path[n * args.path_stride + (j - args.prefix)];
      if (held[j - block_start] == from) continue;
      held[j - block_start] = from;
      kv_page_copy(page, j - block_start,
                   args.scratch[from / kPageTokens] + static_cast<std::size_t>(g) * args.head_bytes, from % kPageTokens,
                   args.D, args.kv_type);
    }
  }
};

static inline long padded_head(long D) { return (D + kLanes - 1) / kLanes * kLanes; }

static inline float* part_of(const ops::AttentionArgs& args, long query, long segment) {
  const long queries = args.query_end - args.query_begin;
  return args.parts + ((segment - args.parts_first) * queries + query) * (padded_head(args.D) + kLanes);
}

template <typename Blocks>
static void walk(const ops::AttentionArgs& args) {
  const long D = args.D, per_group = args.H / args.G, padded = padded_head(D);
  const long together = ops::attention_queries(args.query_end - args.query_begin);
  auto* memory = reinterpret_cast<float*>(args.work);
  const auto take = [&memory](long floats) {
    float* const at = memory;
    memory += floats;
    return at;
  };
  float *acc = take(together * padded), *sum = take(together * padded), *weights = take(together * kPageTokens);
  auto* pairs = reinterpret_cast<std::uint32_t*>(take(together * padded));
  // Not there, and not used, for few queries without a tree.
  TreePage own{reinterpret_cast<std::byte*>(take(2 * kPageTokens * padded)), 0, {}};
  float* const wide = memory;
  for (long g = args.g_begin; g < args.g_end; ++g) {
    for (long at = args.query_begin; at < args.query_end; at += ops::kAttentionQueries) {
      Query rows[ops::kAttentionQueries];
      const auto count = static_cast<int>(ops::attention_queries(args.query_end - at));
      long from = args.position[at / per_group], to = 0;
      bool tree = false;
      for (int r = 0; r < count; ++r) {
        const long n = (at + r) / per_group, h = g * per_group + (at + r) % per_group;
        Query& row = rows[r];
        row.q = args.q + n * args.q_stride + h * D;
        row.pair = pairs + r * ((D + 1) / 2);
        row.out = args.out + n * args.out_stride + h * D;
        row.acc = acc + r * padded;
        row.sum = sum + r * padded;
        row.weights = weights + r * kPageTokens;
        row.any = false;
        row.last = args.position[n];
        row.first = args.window > 0 && row.last - args.window + 1 > 0 ? row.last - args.window + 1 : 0;
        Blocks::prepare(row, D);
        if (row.first < from) from = row.first;
        if (row.last > to) to = row.last;
        tree = tree || row.last >= args.prefix;
      }
      long segment = from / ops::kSegmentTokens, end = to / ops::kSegmentTokens + 1;
      if (args.parts != nullptr) {
        segment = segment > args.segment_begin ? segment : args.segment_begin;
        end = end < args.segment_end ? end : args.segment_end;
      }
      for (; segment < end; ++segment) {
        const long begin = segment * ops::kSegmentTokens, after = begin + ops::kSegmentTokens;
        for (int r = 0; r < count; ++r) clear_segment(args, rows[r]);
        for (long start = from > begin ? from / kPageTokens * kPageTokens : begin; start < after && start <= to;
             start += kPageTokens) {
          const long block = start / kPageTokens;
          if (!tree || start + kPageTokens <= args.prefix) {
            const auto page_at = [&](long b) { return args.pages[b] + static_cast<std::size_t>(g) * args.head_bytes; };
            const std::byte* next = start + kPageTokens <= to && (!tree || start + 2 * kPageTokens <= args.prefix)
                                        ? page_at(block + 1)
                                        : nullptr;
            attend_shared<Blocks>(args, page_at(block), next, start, rows, count, wide);
            continue;
          }
          // Above the prefix every tree row has a page of its own.
          own.open(args, g, start);
          for (int r = 0; r < count;) {
            const long n = (at + r) / per_group;
            int run = r;
            while (run < count && (at + run) / per_group == n) ++run;
            if (rows[r].first < start + kPageTokens && rows[r].last >= start) {
              own.show(args, n, g, rows[r].last);
              Blocks::attend(args, own.page, nullptr, start, rows + r, run - r, wide);
            }
            r = run;
          }
        }
        for (int r = 0; r < count; ++r) {
          Query& row = rows[r];
          if (row.first >= after || row.last < begin) continue;
          if (args.parts == nullptr) {
            merge_segment(row, row.acc, row.largest, row.total, D);
            continue;
          }
          float* part = part_of(args, at + r - args.query_begin, segment);
          part[0] = row.largest;
          part[1] = row.total;
          for (long d = 0; d < D; d += kLanes) f_store(part + kLanes + d, f_load(row.acc + d));
        }
      }
      if (args.parts != nullptr) continue;
      for (int r = 0; r < count; ++r) finish_row(rows[r], D);
    }
  }
}

// Merges what calls with `parts` left, for the queries and KV heads of args.
static void merge_parts(const ops::AttentionArgs& args) {
  const long D = args.D, per_group = args.H / args.G;
  alignas(64) float sum[ops::kMaxHeadDim];
  for (long g = args.g_begin; g < args.g_end; ++g) {
    for (long query = args.query_begin; query < args.query_end; ++query) {
      const long n = query / per_group, h = g * per_group + query % per_group;
      Query row{};
      row.sum = sum;
      row.out = args.out + n * args.out_stride + h * D;
      row.last = args.position[n];
      row.first = args.window > 0 && row.last - args.window + 1 > 0 ? row.last - args.window + 1 : 0;
      for (long segment = row.first / ops::kSegmentTokens; segment <= row.last / ops::kSegmentTokens; ++segment) {
        const float* part = part_of(args, query - args.query_begin, segment);
        merge_segment(row, part + kLanes, part[0], part[1], D);
      }
      finish_row(row, D);
    }
  }
}

template <template <DType> typename Blocks>
static void walk_type(const ops::AttentionArgs& args) {
  if (args.kv_type == DType::kF32)
    walk<Blocks<DType::kF32>>(args);
  else if (args.kv_type == DType::kF16)
    walk<Blocks<DType::kF16>>(args);
  else
    walk<Blocks<DType::kBF16>>(args);
}
