// Forward::head: final norm, logits and what the rows wanted of them.
#include <cmath>
#include <cstring>

#include "base/profile.h"
#include "model/decoder_chunk.h"
#include "ops/gemm/gemm.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "ops/topk/topk.h"
#include "ops/topk/topk_heap.h"

namespace outrider {
namespace {

constexpr long kHeadRows = 32;     // rows of logits held at once
constexpr long kSharedRows = 8;    // from here on rows are normalised by all threads and not by each
constexpr long kBlockPanels = 64;  // columns of logits that are looked at while they are in cache
constexpr unsigned kWantsLogits = kWantLogits | kWantTopk | kWantTarget | kWantSample | kWantBest | kWantDraws;

// Scale and soft cap of logits [begin, end), in place.
void finish_logits(const DecoderSpec& spec, float* logits, long begin, long end) {
  if (spec.logit_scale == 1.0f && spec.logit_soft_cap == 0.0f) return;
  for (long v = begin; v < end; ++v) {
    float value = logits[v] * spec.logit_scale;
    if (spec.logit_soft_cap > 0) value = spec.logit_soft_cap * std::tanh(value / spec.logit_soft_cap);
    logits[v] = value;
  }
}

Result no_token() {
  return Result::error(Status::kArgument,
                       "Expected a finite logit to draw a token from, received none: all are suppressed, "
                       "infinite or NaN");
}

struct Best {
  float value = -INFINITY;
  std::int32_t id = -1;
};

// Shows a heap the largest of logits [begin, end); `values` and `ids` are scratch of k. Blocks come in order of ids,
// and equal values of one block too, as the heap needs them.
void push_best(ops::TopkHeap* heap, const float* logits, long begin, long end, float* values, std::int32_t* ids,
               Level level) {
  const long k = std::min(heap->k, end - begin);
  ops::topk({logits + begin, 1, end - begin, end - begin, k, ids, values, nullptr}, level);
  for (long i = 0; i < k; ++i) heap->push(values[i], ids[i] + static_cast<std::int32_t>(begin));
}

// What the sampler would do to logits [begin, end) of a greedy row without penalties, and the best of them.
Best best_of(const Sampler& sampler, bool early, float* logits, long begin, long end, Level level) {
  const auto in_range = [begin, end](std::int32_t id) { return id >= begin && id < end; };
  for (std::size_t i = 0; i < sampler.bias_ids.size(); ++i) {
    if (in_range(sampler.bias_ids[i])) logits[sampler.bias_ids[i]] += sampler.bias[i];
  }
  const auto suppress = [&](const std::vector<std::int32_t>& ids) {
    for (const std::int32_t id : ids) {
      if (in_range(id)) logits[id] = -INFINITY;
    }
  };
  suppress(sampler.suppressed);
  if (early) suppress(sampler.suppressed_early);
  Best best;
  ops::topk({logits + begin, 1, end - begin, end - begin, 1, &best.id, &best.value, nullptr}, level);
  best.id += static_cast<std::int32_t>(begin);
  return best;
}

}  // namespace

// True if nothing of a row's logits is needed but where the largest are.
bool Forward::only_greedy(long row) const {
  const auto at = static_cast<std::size_t>(row);
  if ((batch_.wants[at] & kWantsLogits & ~unsigned{kWantBest}) != kWantSample) return false;
  const Sampler& sampler = *batch_.samplers[static_cast<std::size_t>(batch_.sequence[at])];
  const ops::SampleParams& p = sampler.params;
  // What is nearly the largest counts too.
  if (batch_.verify && sampler.accept.rule == ops::AcceptRule::kRelaxed && p.temperature == 0) return false;
  return (p.temperature == 0 || p.top_k == 1) && p.repetition == 1 && p.frequency == 0 && p.presence == 0;
}

Result Forward::head(Chunk& chunk, Workspace& workspace) {
  const long hidden = weights_->spec.hidden;
  std::vector<long> rows;
  for (long i = 0; i < chunk.n; ++i) {
    const unsigned wants = batch_.wants[static_cast<std::size_t>(chunk.first + i)];
    const float* x = chunk.x + i * hidden;
    if ((wants & kWantHidden) != 0) {
      std::memcpy(output_.hidden.extend(static_cast<std::size_t>(hidden)), x,
                  static_cast<std::size_t>(hidden) * sizeof(float));
    }
    if ((wants & kWantsLogits) != 0) rows.push_back(i);
  }
  for (std::size_t from = 0; from < rows.size(); from += kHeadRows) {
    const std::size_t count = std::min<std::size_t>(kHeadRows, rows.size() - from);
    if (Result r = head_rows(chunk, rows.data() + from, static_cast<long>(count), workspace); !r.ok()) return r;
  }
  return {};
}

// Logits of n rows of the chunk and what they wanted of them. Every thread multiplies a share of the vocabulary and
// looks for the best of each row while a block is in cache; where all rows are greedy the logits are never written out.
Result Forward::head_rows(const Chunk& chunk, const long* rows, long n, Workspace& workspace) {
  const DecoderSpec& spec = weights_->spec;
  const long hidden = spec.hidden, V = spec.vocab;
  const PackedMatrix& matrix = weights_->head();
  const Level level = batch_.level;
  const int threads = reserve_threads(batch_.threads);
  const auto mode = batch_.rounded ? ops::rounding_of(matrix.layout.format) : ops::Rounding::kNone;
  const bool shared = n >= kSharedRows;
  bool greedy = true;
  for (long i = 0; i < n; ++i) greedy = greedy && only_greedy(chunk.first + rows[i]);

  const long share_panels = (matrix.layout.panels + threads - 1) / threads;
  const long block = n == 1 ? share_panels : std::min(kBlockPanels, share_panels);  // one row: long streams
  const long stride = greedy ? block * kPanelRows : V;
  const long normed_stride = (hidden + 15) / 16 * 16 * n;
  const int copies = shared ? 1 : threads;
  const std::size_t input_bytes = ops::GemmInput::bytes(matrix.layout, n, mode);
  auto* const normed = reinterpret_cast<float*>(
      workspace.slot(kSlotNormed, static_cast<std::size_t>(normed_stride * copies) * sizeof(float)));
  auto* const logits = reinterpret_cast<float*>(
      workspace.slot(kSlotLogits, static_cast<std::size_t>(n * stride * (greedy ? threads : 1)) * sizeof(float)));
  std::byte* const prepared = workspace.slot(kSlotPrepared, input_bytes * static_cast<std::size_t>(copies));
  // Best ids: a list for each row and thread, and scratch of one block for each thread.
  const auto wants_best = [&](long i) {
    return (batch_.wants[static_cast<std::size_t>(chunk.first + rows[i])] & kWantBest) != 0;
  };
  bool some_best = false;
  for (long i = 0; i < n; ++i) some_best = some_best || wants_best(i);
  const long k = some_best ? batch_.best_k : 0;
  std::byte* const lists = workspace.slot(kSlotTopk, static_cast<std::size_t>((n + 1) * threads * k) * 8);
  if (normed == nullptr || logits == nullptr || prepared == nullptr || (k > 0 && lists == nullptr))
    return out_of_memory();
  auto* const list_values = reinterpret_cast<float*>(lists);
  auto* const list_ids = reinterpret_cast<std::int32_t*>(list_values + (n + 1) * threads * k);
  std::vector<ops::TopkHeap> best_k;
  for (long i = 0; i < (k > 0 ? n * threads : 0); ++i) best_k.push_back({list_values + i * k, list_ids + i * k, k});
  std::vector<Best> best(static_cast<std::size_t>(greedy ? n * threads : 0));
  Barrier barrier(threads);

  const auto multiply = [&](int index, int) {
    const Timed timed(Phase::kHead, -1, index);
    float* const own = normed + (shared ? 0 : normed_stride * index);
    ops::GemmInput input = ops::GemmInput::place(
        matrix.layout, n, mode, prepared + (shared ? 0 : input_bytes * static_cast<std::size_t>(index)));
    const Share mine = shared ? share_of(n, index, threads) : Share{0, n};
    for (long i = mine.begin; i < mine.end; ++i) {
      const float* x = chunk.x + rows[i] * hidden;
      ops::rmsnorm({x, weights_->final_norm.data(), own + i * hidden, 1, hidden, hidden, hidden, spec.norm_eps}, level);
    }
    if (mine.begin < mine.end) {
      ops::gemm_prepare({own, DType::kF32, hidden, &matrix.layout, &input, mine.begin, mine.end}, level);
    }
    if (shared) barrier.wait();
    const Share panels = share_of(matrix.layout.panels, index, threads);
    for (long p = panels.begin; p < panels.end; p += block) {
      const long end_panel = std::min(p + block, panels.end), begin = p * kPanelRows;
      const long end = std::min(end_panel * kPanelRows, V);
      // Columns keep their numbers: a greedy thread's buffer holds those of one block.
      float* const out = greedy ? logits + n * stride * index - begin : logits;
      ops::gemm({&matrix, &input, nullptr, out, stride, p, end_panel}, level);
      for (long i = 0; i < n; ++i) {
        float* const row = out + i * stride;
        finish_logits(spec, row, begin, end);
        if (k > 0 && wants_best(i)) {
          const long scratch = (n * threads + index) * k;
          push_best(&best_k[static_cast<std::size_t>(i * threads + index)], row, begin, end, list_values + scratch,
                    list_ids + scratch, level);
        }
        if (!greedy) continue;
        const auto at = static_cast<std::size_t>(chunk.first + rows[i]);
        const Sampler& sampler = *batch_.samplers[static_cast<std::size_t>(batch_.sequence[at])];
        const Best found = best_of(sampler, position_[at] + 1 < sampler.min_position, row, begin, end, level);
        Best& sofar = best[static_cast<std::size_t>(i * threads + index)];
        if (sofar.id < 0 || found.value > sofar.value) sofar = found;
      }
    }
  };
  {
    const Stopwatch stopwatch(&output_.kernel_seconds);
    parallel(threads, multiply);
  }
  const Timed timed(Phase::kSample, -1, 0);
  if (batch_.stop != nullptr) {  // then there is one row that wants anything
    std::byte* const scratch = workspace.slot(kSlotStop, batch_.stop->scratch_bytes());
    if (scratch == nullptr) return out_of_memory();
    output_.acceptance.push(batch_.stop->acceptance(normed, scratch, level));
  }
  for (long i = 0; i < n; ++i) {
    if (k > 0 && wants_best(i)) {
      ops::TopkHeap all{list_values + n * threads * k, list_ids + n * threads * k, k};
      for (int t = 0; t < threads; ++t) {
        ops::TopkHeap& of = best_k[static_cast<std::size_t>(i * threads + t)];
        of.finish();
        for (long j = 0; j < of.count; ++j) all.push(of.values[j], of.ids[j]);
      }
      all.finish();
      for (long j = 0; j < k; ++j) output_.best_ids.push(j < all.count ? all.ids[j] : -1);
    }
    if (!greedy) {
      if (Result r = outputs(chunk.first + rows[i], logits + i * V, workspace); !r.ok()) return r;
      continue;
    }
    Best most;
    for (int t = 0; t < threads; ++t) {  // in order of tokens: of equal ones the lowest id
      const Best& found = best[static_cast<std::size_t>(i * threads + t)];
      if (found.id >= 0 && (most.id < 0 || found.value > most.value)) most = found;
    }
    if (!walks(chunk.first + rows[i])) continue;
    if (!std::isfinite(most.value)) return no_token();
    drawn(chunk.first + rows[i], most.id, NAN);
  }
  return {};
}

Result Forward::outputs(long row, float* logits, Workspace& workspace) {
  const long V = weights_->spec.vocab;
  const auto at = static_cast<std::size_t>(row);
  const unsigned wants = batch_.wants[at];
  if (!walks(row)) return {};
  if ((wants & kWantLogits) != 0) {
    std::memcpy(output_.logits.extend(static_cast<std::size_t>(V)), logits,
                static_cast<std::size_t>(V) * sizeof(float));
  }
  float logsumexp = NAN;
  if ((wants & kWantTopk) != 0) {
    const auto k = static_cast<std::size_t>(batch_.top_k);
    ops::topk({logits, 1, V, V, batch_.top_k, output_.topk_ids.extend(k), output_.topk_values.extend(k), &logsumexp},
              batch_.level);
    output_.logsumexp.push(logsumexp);
  } else if ((wants & kWantTarget) != 0) {
    std::int32_t id;
    float value;
    ops::topk({logits, 1, V, V, 1, &id, &value, &logsumexp}, batch_.level);
  }
  if ((wants & kWantTarget) != 0) output_.target_logprob.push(logits[batch_.target[at]] - logsumexp);
  return (wants & (kWantSample | kWantDraws)) != 0 ? draw(row, logits, logsumexp, workspace) : Result{};
}

// A token for the row by the sampler of its sequence, or the first ones of its order.
Result Forward::draw(long row, const float* logits, float logsumexp, Workspace& workspace) {
  const long V = weights_->spec.vocab;
  const auto at = static_cast<std::size_t>(row), s = static_cast<std::size_t>(batch_.sequence[at]);
  const Sampler& sampler = *batch_.samplers[s];
  auto* own = reinterpret_cast<float*>(workspace.slot(kSlotSampleLogits, static_cast<std::size_t>(V) * sizeof(float)));
  std::byte* scratch = workspace.slot(kSlotSampleScratch, ops::sample_scratch_bytes(V));
  if (own == nullptr || scratch == nullptr) return out_of_memory();
  std::memcpy(own, logits, static_cast<std::size_t>(V) * sizeof(float));

  // The history a row sees is what its sequence held before this batch, and then the row's own past in the batch: rows
  // up to it, or its path in a tree. Rows of the same chunk that come later are in sampler.history already. Only what
  // penalties look at is put together.
  const ops::SampleParams& p = sampler.params;
  const bool penalised = p.repetition != 1 || p.frequency != 0 || p.presence != 0;
  const std::vector<std::int32_t>* history = &sampler.history;
  std::size_t seen = history_before_[s];
  std::vector<std::int32_t> path;
  if (!batch_.token.empty() && !batch_.scratch) {
    seen += static_cast<std::size_t>(slot_[at]) + 1;
  } else if (penalised && !batch_.token.empty()) {
    for (std::int32_t i = slot_[at]; i >= 0; i = trees_[s].parents[static_cast<std::size_t>(i)]) {
      path.push_back(trees_[s].tokens[static_cast<std::size_t>(i)]);
    }
    const auto most = sampler.penalty_window > 0 ? static_cast<std::size_t>(sampler.penalty_window) : ~std::size_t{0};
    const std::size_t before = most > path.size() ? std::min(most - path.size(), seen) : 0;
    path.insert(path.end(), sampler.history.rend() - static_cast<std::ptrdiff_t>(seen),
                sampler.history.rend() - static_cast<std::ptrdiff_t>(seen - before));
    std::reverse(path.begin(), path.end());
    history = &path;
    seen = path.size();
  }
  const auto total = static_cast<long>(seen);
  const long window = sampler.penalty_window > 0 ? std::min(sampler.penalty_window, total) : total;
  const long position = position_[at] + 1;
  std::vector<std::int32_t> suppressed = sampler.suppressed;
  if (position < sampler.min_position) {
    suppressed.insert(suppressed.end(), sampler.suppressed_early.begin(), sampler.suppressed_early.end());
  }
  ops::SampleArgs args{sampler.params,
                       own,
                       V,
                       static_cast<std::uint64_t>(position),
                       history->data() + (total - window),
                       window,
                       sampler.bias_ids.data(),
                       sampler.bias.data(),
                       static_cast<long>(sampler.bias_ids.size()),
                       suppressed.data(),
                       static_cast<long>(suppressed.size()),
                       scratch,
                       -1};
  const unsigned wants = batch_.wants[at];
  args.law = batch_.verify && sampler.accept.rule != ops::AcceptRule::kNone;
  if ((wants & kWantDraws) != 0) {
    const auto count = static_cast<std::size_t>(batch_.draws_k);
    args.draws = batch_.draws_k;
    args.draw_ids = output_.draw_ids.extend(count);
    args.draw_logq = output_.draw_logq.extend(count);
    args.draw_values = output_.draw_values.extend(count);
  }
  if (ops::sample(args, batch_.level) != Status::kOk) {
    return no_token();
  }
  if ((wants & kWantSample) == 0) return {};
  const std::int32_t token = accepted(row, args);
  drawn(row, token, logits[token] - logsumexp, token != args.token);
  return {};
}

}  // namespace outrider
