// Forward::head: final norm, logits and what the rows wanted of them.
#include <cmath>
#include <cstring>

#include "model/decoder_chunk.h"
#include "ops/gemm/gemm.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "ops/topk/topk.h"

namespace outrider {
namespace {

constexpr long kHeadRows = 32;  // rows of logits held at once
constexpr unsigned kWantsLogits = kWantLogits | kWantTopk | kWantTarget | kWantSample;

// Scale and soft cap, in place.
void finish_logits(const DecoderSpec& spec, float* logits, int threads) {
  if (spec.logit_scale == 1.0f && spec.logit_soft_cap == 0.0f) return;
  parallel(threads, [&](int index, int count) {
    const Share share = share_of(spec.vocab, index, count, 16);
    for (long v = share.begin; v < share.end; ++v) {
      float value = logits[v] * spec.logit_scale;
      if (spec.logit_soft_cap > 0) value = spec.logit_soft_cap * std::tanh(value / spec.logit_soft_cap);
      logits[v] = value;
    }
  });
}

}  // namespace

Result Forward::head(Chunk& chunk, Workspace& workspace) {
  const DecoderSpec& spec = weights_->spec;
  const long hidden = spec.hidden, V = spec.vocab;
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
  const PackedMatrix& matrix = weights_->head();
  const Level level = batch_.level;
  for (std::size_t from = 0; from < rows.size(); from += kHeadRows) {
    const long n = std::min<long>(kHeadRows, static_cast<long>(rows.size() - from));
    const auto mode = batch_.rounded ? ops::rounding_of(matrix.layout.format) : ops::Rounding::kNone;
    auto* normed = reinterpret_cast<float*>(
        workspace.slot(kSlotNormed, static_cast<std::size_t>(n * std::max(hidden, spec.ffn)) * sizeof(float)));
    auto* logits =
        reinterpret_cast<float*>(workspace.slot(kSlotLogits, static_cast<std::size_t>(n * V) * sizeof(float)));
    std::byte* block = workspace.slot(kSlotPrepared, ops::GemmInput::bytes(matrix.layout, n, mode));
    if (normed == nullptr || logits == nullptr || block == nullptr) return out_of_memory();
    ops::GemmInput input = ops::GemmInput::place(matrix.layout, n, mode, block);
    for (long i = 0; i < n; ++i) {
      const float* x = chunk.x + rows[from + static_cast<std::size_t>(i)] * hidden;
      ops::rmsnorm({x, weights_->final_norm.data(), normed + i * hidden, 1, hidden, hidden, hidden, spec.norm_eps},
                   level);
    }
    ops::gemm_prepare({normed, DType::kF32, hidden, &matrix.layout, &input, 0, n}, level);
    parallel(batch_.threads, [&](int index, int count) {
      const Share share = share_of(matrix.layout.panels, index, count);
      ops::gemm({&matrix, &input, nullptr, logits, V, share.begin, share.end}, level);
    });
    for (long i = 0; i < n; ++i) {
      finish_logits(spec, logits + i * V, batch_.threads);
      const long row = chunk.first + rows[from + static_cast<std::size_t>(i)];
      if (Result r = outputs(row, logits + i * V, workspace); !r.ok()) return r;
    }
  }
  return {};
}

Result Forward::outputs(long row, float* logits, Workspace& workspace) {
  const long V = weights_->spec.vocab;
  const auto at = static_cast<std::size_t>(row);
  const unsigned wants = batch_.wants[at];
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
  return (wants & kWantSample) != 0 ? draw(row, logits, logsumexp, workspace) : Result{};
}

// A token for the row by the sampler of its sequence.
Result Forward::draw(long row, const float* logits, float logsumexp, Workspace& workspace) {
  const long V = weights_->spec.vocab;
  const auto at = static_cast<std::size_t>(row), s = static_cast<std::size_t>(batch_.sequence[at]);
  const Sampler& sampler = *batch_.samplers[s];
  auto* own = reinterpret_cast<float*>(workspace.slot(kSlotSampleLogits, static_cast<std::size_t>(V) * sizeof(float)));
  std::byte* scratch = workspace.slot(kSlotSampleScratch, ops::sample_scratch_bytes(V));
  if (own == nullptr || scratch == nullptr) return out_of_memory();
  std::memcpy(own, logits, static_cast<std::size_t>(V) * sizeof(float));

  // The history a row sees is what its sequence held before this batch, and then the row's own past in the batch: rows
  // up to it, or its path in a tree. Rows of the same chunk that come later are in sampler.history already.
  const std::vector<std::int32_t>* history = &sampler.history;
  std::size_t seen = history_before_[s];
  std::vector<std::int32_t> path;
  if (!batch_.token.empty() && !batch_.scratch) {
    seen += static_cast<std::size_t>(slot_[at]) + 1;
  } else if (!batch_.token.empty()) {
    for (auto i = static_cast<std::int32_t>(row); i >= 0; i = batch_.parent[static_cast<std::size_t>(i)]) {
      path.push_back(batch_.token[static_cast<std::size_t>(i)]);
    }
    path.insert(path.end(), sampler.history.rbegin(), sampler.history.rend());
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
  if (ops::sample(args) != Status::kOk) {
    return Result::error(Status::kArgument, "No token can be drawn: every logit is suppressed or not finite");
  }
  output_.sampled.push(args.token);
  output_.sampled_logprob.push(logits[args.token] - logsumexp);
  return {};
}

}  // namespace outrider
