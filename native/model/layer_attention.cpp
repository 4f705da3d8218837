// The attention step of LayerPass. Many items are taken from a counter; few, as in decoding, are cut into equal runs of
// segments, or of queries where the text is short, so that three KV heads keep two threads busy for the same time.
#include "model/layer_pass.h"

namespace outrider {
namespace {

constexpr long kShortSegments = 3;  // fewer for a head cannot be shared out evenly

}  // namespace

// Whether every thread takes its part of all queries: where heads do not divide evenly and the text is too short to be
// cut into segments. Only the heads at the borders are then read twice.
bool LayerPass::shares_queries(const Run& run) const {
  const bool even = spec_.kv_heads % threads_ == 0 || spec_.kv_heads >= 4L * threads_;
  const bool segments = rows_.position[run.end - 1] >= kShortSegments * ops::kSegmentTokens;
  return !even && !segments && run.end - run.begin <= kAttentionRows && chunk_.runs.size() == 1;
}

void LayerPass::list_items() {
  const long heads = spec_.kv_heads, per_group = spec_.heads / heads;
  for (std::size_t r = 0; r < chunk_.runs.size(); ++r) {
    const Run& run = chunk_.runs[r];
    const long first = run.begin * per_group, queries = (run.end - run.begin) * per_group;
    if (shares_queries(run)) {
      for (int thread = 0; thread < threads_; ++thread) {
        const Share mine = share(heads * queries, thread);
        for (long at = mine.begin; at < mine.end;) {
          const long head = at / queries, end = std::min((head + 1) * queries, mine.end);
          items_.push_back({r, first + at - head * queries, first + end - head * queries, head, thread});
          at = end;
        }
      }
      continue;
    }
    for (long begin = run.begin; begin < run.end; begin += kAttentionRows) {
      const long end = std::min(begin + kAttentionRows, run.end);
      for (long g = 0; g < heads; ++g) items_.push_back({r, begin * per_group, end * per_group, g, -1});
    }
  }
}

ops::AttentionArgs LayerPass::attention_args(const Item& item, long l, int index) const {
  const Run& run = chunk_.runs[item.run];
  const auto s = static_cast<std::size_t>(run.sequence);
  const std::size_t pages = static_cast<std::size_t>(l) * chunk_.runs.size() + item.run;
  ops::AttentionArgs args{};
  args.q = q_;
  args.out = attended_;
  args.q_stride = args.out_stride = spec_.heads * spec_.head_dim;
  args.H = spec_.heads;
  args.G = spec_.kv_heads;
  args.D = spec_.head_dim;
  args.pages = pages_[pages].data();
  args.scratch = scratch_[pages].data();
  args.head_bytes = batch_.sequences[s]->shape().page_bytes();
  args.kv_type = batch_.sequences[s]->shape().type;
  args.position = rows_.position;
  args.prefix = batch_.scratch ? (*rows_.start_length)[s] : spec_.context_length;
  args.path = rows_.path;
  args.path_stride = rows_.path_stride;
  args.window = spec_.layers[static_cast<std::size_t>(l)].window;
  args.scale = spec_.attention_scale;
  args.soft_cap = spec_.attention_soft_cap;
  args.query_begin = item.begin;
  args.query_end = item.end;
  args.g_begin = item.head;
  args.g_end = item.head + 1;
  args.work = work_ + work_bytes_ * static_cast<std::size_t>(index);
  return args;
}

// Segments that the queries of an item see, [begin, end).
Share LayerPass::segments_of(const Item& item, long window) const {
  const long per_group = spec_.heads / spec_.kv_heads;
  long first = rows_.position[item.begin / per_group], last = 0;
  for (long query = item.begin; query < item.end; ++query) {
    const long position = rows_.position[query / per_group];
    first = std::min(first, window > 0 ? std::max(0L, position - window + 1) : 0L);
    last = std::max(last, position);
  }
  return {first / ops::kSegmentTokens, last / ops::kSegmentTokens + 1};
}

void LayerPass::plan_attention(long window) {
  Plan& plan = plans_.emplace_back();
  plan.window = window;
  if (!items_.empty() && items_.front().thread >= 0) {
    for (const Item& item : items_) {
      const Share all = segments_of(item, window);
      plan.pieces.push_back({item, item.thread, all, all.begin, -1});
    }
    return;
  }
  if (static_cast<long>(items_.size()) >= 4 * threads_ || threads_ == 1 || !ops::attention_splits(batch_.level)) return;
  long total = 0;
  for (const Item& item : items_) {
    const Share segments = segments_of(item, window);
    total += segments.end - segments.begin;
  }
  long at = 0;  // segments of the items before
  for (const Item& item : items_) {
    const Share segments = segments_of(item, window);
    const long count = segments.end - segments.begin;
    const std::size_t first_piece = plan.pieces.size();
    for (int thread = 0; thread < threads_; ++thread) {
      const Share mine = share(total, thread);
      const long begin = std::max(mine.begin, at) - at, end = std::min(mine.end, at + count) - at;
      if (begin >= end) continue;
      const bool whole = end - begin == count;
      plan.pieces.push_back(
          {item, thread, {segments.begin + begin, segments.begin + end}, segments.begin, whole ? -1 : plan.floats});
    }
    if (plan.pieces[first_piece].parts >= 0) {
      plan.merges.push_back(plan.pieces[first_piece]);
      plan.floats += static_cast<long>(ops::attention_parts_floats(item.end - item.begin, count, spec_.head_dim));
    }
    at += count;
  }
}

// Rounds what an item has attended, for the output projection.
void LayerPass::prepare_attended(const Item& item, long l) const {
  const LayerWeights& layer = weights_.layers[static_cast<std::size_t>(l)];
  if (!attended_ahead(layer)) return;
  const PackedLayout& layout = layer.o.packed.layout;
  ops::GemmInput input = ahead(layer.o);
  const long per_group = spec_.heads / spec_.kv_heads, D = spec_.head_dim, groups = D / layout.group;
  for (long query = item.begin; query < item.end;) {
    const long row = query / per_group, end = std::min(item.end, (row + 1) * per_group);
    const long first = item.head * per_group - row * per_group;  // head of query 0, were it of this row
    ops::gemm_prepare_groups({attended_, DType::kF32, spec_.heads * D, &layout, &input, row, row + 1},
                             (first + query) * groups, (first + end) * groups, batch_.level);
    query = end;
  }
}

bool LayerPass::attend(int index, long l) {
  const Plan& plan = plans_[plan_of_[static_cast<std::size_t>(l)]];
  {
    const Timed timed(Phase::kAttention, l, index);
    if (plan.pieces.empty()) {
      std::atomic<long>& next = next_[static_cast<std::size_t>(l)];
      const auto count = static_cast<long>(items_.size());
      for (long i = next.fetch_add(1); i < count && !aborted(); i = next.fetch_add(1)) {
        const Item& item = items_[static_cast<std::size_t>(i)];
        ops::attention(attention_args(item, l, index), batch_.level);
        prepare_attended(item, l);
      }
    }
    for (const Piece& piece : plan.pieces) {
      if (piece.thread != index || aborted()) continue;
      ops::AttentionArgs args = attention_args(piece.item, l, index);
      if (piece.parts >= 0) {
        args.parts = parts_ + piece.parts;
        args.parts_first = piece.first_segment;
        args.segment_begin = piece.segments.begin;
        args.segment_end = piece.segments.end;
      }
      ops::attention(args, batch_.level);
      if (piece.parts < 0) prepare_attended(piece.item, l);
    }
  }
  if (!plan.merges.empty()) {
    if (!sync(index)) return false;
    const Timed timed(Phase::kAttention, l, index);
    for (const Piece& piece : plan.merges) {
      if (piece.thread != index) continue;
      ops::AttentionArgs args = attention_args(piece.item, l, index);
      args.parts = parts_ + piece.parts;
      args.parts_first = piece.first_segment;
      ops::attention_merge(args, batch_.level);
      prepare_attended(piece.item, l);
    }
  }
  return sync(index);
}

}  // namespace outrider
