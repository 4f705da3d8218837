// Grouped-query attention over paged keys and values: decode, chunked prefill and token trees in one op.
//
//   out[n,h,:] = sum_j softmax_j(cap(scale * dot(q[n,h,:], k[j,g,:]))) * v[j,g,:]        g = h / (H / G)
//   cap(s) = s, or soft_cap * tanh(s / soft_cap)
//
// j runs over absolute positions max(0, position[n] - window + 1) .. position[n]. Positions below `prefix` are in the
// sequence's pages. Row n of a tree sees, above the prefix, its own path: position prefix + i is held by scratch slot
// path[n][i], where path[n] lists the ancestors of n from the root down and n itself.
//
// Sources: arXiv:1805.02867, algorithm 3, for the one-pass softmax; arXiv:2305.09781, tree-based parallel decoding, for
//          ancestors; formats/kv_page.h for the layout.
// Dims:    N rows, H query heads, G kv heads, D head size.
//
// The walk is by blocks of 64 absolute positions with one rescaling per block, and by segments of 256 that are merged
// in order, each row on its own: a row's result depends on its query and on the keys and values at its positions, not
// on other rows, on chunking, on which of its ancestors were committed, or on which thread took which segment.
//
// Precision: f32 throughout, but level avx512 multiplies bf16 pages by queries and weights rounded to bf16 (2^-9
// relative each).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "cpu/level.h"
#include "formats/kv_page.h"

namespace outrider::ops {

constexpr long kMaxHeadDim = 512;
// Tree rows of one sequence.
constexpr long kMaxTreeRows = 1024;
// Query rows of one KV head that walk the pages together in the vector kernels.
constexpr int kAttentionQueries = 64;
// Of so many, those that do.
constexpr long attention_queries(long queries) { return queries < kAttentionQueries ? queries : kAttentionQueries; }
// Up to so many never need a page of their own.
constexpr int kFewQueries = 4;
// Positions whose softmax is computed on its own before it is merged with what came before. A multiple of kPageTokens.
constexpr long kSegmentTokens = 256;

struct AttentionArgs {
  const float* q;  // [N, H, D], rows q_stride apart
  float* out;      // [N, H, D], rows out_stride apart; overwritten for the queries below
  long q_stride, out_stride;
  long H, G, D;
  const std::byte* const* pages;  // page p of kv head 0 of this layer; kv head g lies head_bytes * g further
  std::size_t head_bytes;
  DType kv_type;                 // kF32, kF16 or kBF16
  const std::int32_t* position;  // [N] absolute position of each row
  long prefix;                   // positions below this one are in the pages
  // Trees only. Slot s of kv head g: page s / 64 of `scratch` at head_bytes * g, slot s % 64.
  const std::byte* const* scratch;
  const std::int32_t* path;  // [N, path_stride]; row n has position[n] - prefix + 1 entries
  long path_stride;
  long window;  // 0: all positions
  float scale;
  float soft_cap;  // 0: off
  // Queries [query_begin, query_end) of each of KV heads [g_begin, g_end): query i of a KV head is its query head
  // i % (H / G) of row i / (H / G).
  long query_begin, query_end;
  long g_begin, g_end;
  std::byte* work;  // attention_work_bytes() for this call alone
  // Split over segments of one KV head: null, or attention_parts_floats() for the queries and the segments from
  // parts_first on. Then only segments [segment_begin, segment_end) are computed, into parts, and attention_merge() of
  // all queries makes `out` once every segment is there. The bits are those of one call.
  float* parts;
  long parts_first, segment_begin, segment_end;
};

// Scratch of one thread for calls of up to N rows, a multiple of 64.
std::size_t attention_work_bytes(long N, long H, long G, long D, bool tree);

// Shapes are preconditions: D <= kMaxHeadDim, G divides H. Reentrant with separate work.
// Cost: 4 D flops per row, head and visible position; each page is read once per kAttentionQueries query rows.
void attention(const AttentionArgs& args, Level level);
void attention_merge(const AttentionArgs& args, Level level);
// Whether a level can split by segments; ref cannot.
bool attention_splits(Level level);
std::size_t attention_parts_floats(long queries, long segments, long D);
unsigned attention_levels();

}  // namespace outrider::ops

namespace outrider::ref {
void attention(const ops::AttentionArgs& args);
}
#define OUTRIDER_DECLARE(level)                         \
  namespace outrider::level {                           \
  void attention(const ops::AttentionArgs& args);       \
  void attention_merge(const ops::AttentionArgs& args); \
  }
OUTRIDER_DECLARE(avx2)
OUTRIDER_DECLARE(avx512f)
OUTRIDER_DECLARE(avx512)
#undef OUTRIDER_DECLARE
