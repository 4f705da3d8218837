// The attention step of LayerPass. Many items are taken from a counter; few, as in decoding, are cut into equal runs of
// segments, so that three KV heads keep two threads busy for the same time.
#include "model/layer_pass.h"

namespace outrider {

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
  args.row_begin = item.begin;
  args.row_end = item.end;
  args.g_begin = item.head;
  args.g_end = item.head + 1;
  args.work = work_ + work_bytes_ * static_cast<std::size_t>(index);
  return args;
}

// Segments that the rows of an item see, [begin, end).
Share LayerPass::segments_of(const Item& item, long window) const {
  long first = rows_.position[item.begin], last = 0;
  for (long i = item.begin; i < item.end; ++i) {
    const long position = rows_.position[i];
    first = std::min(first, window > 0 ? std::max(0L, position - window + 1) : 0L);
    last = std::max(last, position);
  }
  return {first / ops::kSegmentTokens, last / ops::kSegmentTokens + 1};
}

void LayerPass::plan_attention(long window) {
  Plan& plan = plans_.emplace_back();
  plan.window = window;
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
      const long queries = (item.end - item.begin) * (spec_.heads / spec_.kv_heads);
      plan.floats += static_cast<long>(ops::attention_parts_floats(queries, count, spec_.head_dim));
    }
    at += count;
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
        ops::attention(attention_args(items_[static_cast<std::size_t>(i)], l, index), batch_.level);
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
    }
  }
  return sync(index);
}

}  // namespace outrider
