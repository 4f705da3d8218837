#include "model/decoder.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "base/profile.h"
#include "model/decoder_chunk.h"
#include "ops/attention/attention.h"

namespace outrider {

std::byte* Workspace::slot(int index, std::size_t bytes) {
  Buffer& buffer = slots_[index];
  if (buffer.size() < bytes || !buffer) {
    buffer = Buffer();
    buffer = Buffer(bytes + bytes / 4 + 64);  // a little more, so that growing prompts do not reallocate at each step
  }
  asked_[index] = std::max(asked_[index], bytes);
  return buffer.data();
}

void Workspace::clear() {
  for (Buffer& buffer : slots_) buffer = Buffer();
}

void Workspace::count_anew() { std::fill(std::begin(asked_), std::end(asked_), 0); }

std::size_t Workspace::bytes() const { return std::accumulate(std::begin(asked_), std::end(asked_), std::size_t{0}); }

Result Forward::begin() {
  const DecoderSpec& spec = weights_->spec;
  const auto bad = [](const char* what) { return Result::error(Status::kArgument, what); };
  const long rows = batch_.rows(), layers = static_cast<long>(spec.layers.size());
  const auto sequences = static_cast<long>(batch_.sequences.size());
  const auto size = static_cast<std::size_t>(rows);
  if (rows == 0) return bad("Expected at least one row in a batch");
  if (batch_.layer_begin < 0 || batch_.layer_begin > batch_.layer_end || batch_.layer_end > layers)
    return bad("Expected a valid range of layers");
  if (Result fits = check_input(); !fits.ok()) return fits;
  if (batch_.wants.size() != size || (batch_.scratch && batch_.parent.size() != size))
    return bad("Expected wants and parents for each row");
  if ((!batch_.skip_attention.empty() && batch_.skip_attention.size() != spec.layers.size()) ||
      (!batch_.skip_mlp.empty() && batch_.skip_mlp.size() != spec.layers.size())) {
    return bad("Expected one skip flag for each layer");
  }
  if (batch_.samplers.size() != batch_.sequences.size()) return bad("Expected one sampler or none for each sequence");
  const KvShape shape = batch_.sequences.empty() ? KvShape{} : batch_.sequences[0]->shape();
  for (const auto& sequence : batch_.sequences) {
    if (!(sequence->shape() == shape) || shape.layers != layers || shape.kv_heads != spec.kv_heads ||
        shape.head_dim != spec.head_dim) {
      return bad("Expected sequences of this model, all with one KV format");
    }
  }
  for (const auto& sampler : batch_.samplers) {
    if (sampler != nullptr && sampler->vocab != spec.vocab)
      return bad("Expected samplers made for the vocabulary of this model");
  }
  const bool head = batch_.layer_end == layers;
  for (long i = 0; i < rows; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (batch_.sequence[at] < 0 || batch_.sequence[at] >= sequences)
      return bad("Expected a known sequence for each row");
    const unsigned wants = batch_.wants[at];
    if (!head && (wants & ~static_cast<unsigned>(kWantHidden)) != 0)
      return bad("Expected only hidden states to be wanted of a partial range of layers");
    if ((wants & kWantTopk) != 0 && (batch_.top_k < 1 || batch_.top_k > spec.vocab))
      return bad("Expected top_k between 1 and the vocabulary size");
    if ((wants & kWantBest) != 0 && (batch_.best_k < 1 || batch_.best_k > std::min(kMostBest, spec.vocab)))
      return bad("Expected best_k between 1 and 64, and at most the vocabulary size");
    if ((wants & kWantDraws) != 0 && (batch_.draws_k < 1 || batch_.draws_k > std::min(kMostDraws, spec.vocab)))
      return bad("Expected draws_k between 1 and 64, and at most the vocabulary size");
    if ((wants & kWantTarget) != 0 &&
        (batch_.target.size() != size || batch_.target[at] < 0 || batch_.target[at] >= spec.vocab)) {
      return bad("Expected a target within the vocabulary for each row that wants its log-probability");
    }
    if ((wants & (kWantSample | kWantDraws)) != 0 &&
        batch_.samplers[static_cast<std::size_t>(batch_.sequence[at])] == nullptr) {
      return bad("Expected a sampler for each sequence that draws a token");
    }
  }
  if (Result fits = check_repeat(); !fits.ok()) return fits;
  if (Result fits = check_verify(); !fits.ok()) return fits;
  if (Result fits = check_continues(); !fits.ok()) return fits;
  if (Result fits = check_copies(); !fits.ok()) return fits;
  approximate_ = batch_.verify && std::any_of(batch_.samplers.begin(), batch_.samplers.end(), [](const auto& sampler) {
                   return sampler != nullptr && sampler->accept.rule != ops::AcceptRule::kNone;
                 });
  // Chains need no pages of their own and no copies: their rows are like those of a prompt of which a part is kept.
  in_place_ = batch_.verify && only_chains();
  if (in_place_) batch_.scratch = false;
  if (Result reserved = reserve_output(); !reserved.ok()) return reserved;
  if (copying()) copy_rows();
  Result prepared = prepare_rows();
  first_length_ = start_length_;
  first_history_ = history_before_;
  return prepared;
}

// What the rows are made of: tokens, embeddings or mixes of tokens.
Result Forward::check_input() const {
  const DecoderSpec& spec = weights_->spec;
  const auto bad = [](const char* what) { return Result::error(Status::kArgument, what); };
  const std::size_t rows = batch_.sequence.size(), mixed = batch_.mix.size();
  const bool embedded = !batch_.embeddings.empty();
  if (int{embedded} + int{mixed > 0} + int{!batch_.token.empty()} > 1)
    return bad(
        "Expected tokens, embeddings or mixes of tokens for the rows of a batch, received more than one of them");
  if (embedded ? batch_.embeddings.size() != rows * static_cast<std::size_t>(spec.hidden)
               : mixed == 0 && batch_.token.size() != rows) {
    return bad("Expected one token or one embedding for each row");
  }
  if (mixed % rows != 0 || mixed / rows > static_cast<std::size_t>(kMostMixed) || batch_.mix_weights.size() != mixed)
    return bad("Expected as many tokens in each row of a mix, at most 64, and a weight for each");
  if (batch_.layer_begin > 0 && !embedded)
    return bad("Expected hidden states as input of a range that does not start at layer 0");
  for (const std::int32_t token : mixed > 0 ? batch_.mix : batch_.token) {
    if (token < 0 || token >= spec.vocab) return bad("Expected token ids within the vocabulary");
  }
  for (const float weight : batch_.mix_weights) {
    if (!std::isfinite(weight)) return bad("Expected finite weights for the tokens of a mix");
  }
  return {};
}

Result Forward::check_repeat() const {
  const auto bad = [](const char* what) { return Result::error(Status::kArgument, what); };
  if (batch_.repeat < 1 || batch_.repeat > kMostRepeats) return bad("Expected 1 to 4096 repetitions of a batch");
  if (!(batch_.least_confidence >= 0 && batch_.least_confidence <= 1))
    return bad("Expected a least confidence from 0 to 1");
  if (batch_.stop != nullptr) {
    if (!(batch_.stop_at >= 0 && batch_.stop_at <= 1)) return bad("Expected a bound from 0 to 1 for a stopping head");
    if (batch_.stop->hidden() != weights_->spec.hidden)
      return bad("Expected a stopping head for the hidden size of this model");
  }
  if (copying() || (batch_.repeat == 1 && batch_.stop == nullptr)) return {};
  const auto layers = static_cast<long>(weights_->spec.layers.size());
  if (batch_.sequences.size() != 1 || batch_.scratch || batch_.token.empty() || batch_.layer_begin != 0 ||
      batch_.layer_end != layers) {
    return bad("Expected one sequence, tokens and all layers for a batch that repeats");
  }
  for (std::size_t i = 0; i < batch_.wants.size(); ++i) {
    const unsigned wants = batch_.wants[i];
    const bool last = i + 1 == batch_.wants.size();
    if (last ? (wants & ~unsigned{kWantTopk | kWantBest}) != kWantSample : wants != 0)
      return bad(
          "Expected only the last row of a batch that repeats to want anything, a token and perhaps the best ones");
    if (last && batch_.least_confidence > 0 && (wants & kWantTopk) == 0)
      return bad("Expected the last row of a batch that stops by confidence to want the best ones");
  }
  return {};
}

// Whether every sequence has the rows that these go on from.
Result Forward::check_continues() const {
  const auto bad = [](const char* what) { return Result::error(Status::kArgument, what); };
  if (!batch_.continues) return {};
  if (!batch_.scratch || batch_.verify) return bad("Expected scratch rows without verification for rows that go on");
  for (const std::int32_t s : batch_.sequence) {
    const Sequence::Tree& tree = batch_.sequences[static_cast<std::size_t>(s)]->tree();
    if (tree.parents.empty()) {
      return bad(
          "Expected scratch rows to go on from, received a sequence that has none or has been changed since they were "
          "evaluated");
    }
    if (tree.tokens.empty() != batch_.token.empty())
      return bad("Expected tokens or embeddings for rows that go on, as the rows have that they go on from");
  }
  return {};
}

// Whether another token is to be drawn after the one just drawn.
bool Forward::goes_on() const {
  if (repeated_ + 1 >= batch_.repeat || batch_.sequences[0]->length() >= weights_->spec.context_length) return false;
  const std::size_t drawn = output_.sampled.size();
  if (copying() && (static_cast<long>(drawn) >= batch_.most_tokens || copying_seconds_ >= batch_.most_seconds))
    return false;
  const std::int32_t token = output_.sampled.data()[drawn - 1];
  if (batch_.least_confidence > 0) {
    const float* const logprob = output_.sampled_logprob.data();
    if (std::exp(std::accumulate(logprob, logprob + drawn, 0.0)) < batch_.least_confidence) return false;
  }
  if (batch_.stop != nullptr) {
    const float* const acceptance = output_.acceptance.data();
    const double all = std::accumulate(acceptance, acceptance + drawn, 1.0, std::multiplies<>());
    if (!(1 - all <= batch_.stop_at)) return false;  // NaN ends it too
  }
  return !ends(token);
}

// Makes the drawn token the batch.
Result Forward::next_token() {
  ++repeated_;
  batch_.token = {output_.sampled.data()[output_.sampled.size() - 1]};
  batch_.sequence = {0};
  batch_.wants = {batch_.wants.back()};
  next_row_ = 0;
  if (copying()) copy_rows();
  return prepare_rows();
}

// Memory for what the rows want.
Result Forward::reserve_output() {
  const DecoderSpec& spec = weights_->spec;
  const auto turns = static_cast<std::size_t>(copying() ? most_drawn() : batch_.repeat);
  const auto steps = static_cast<std::size_t>(copying() ? batch_.repeat : 0);
  const auto wanting = [this, turns](unsigned want) {
    return turns * static_cast<std::size_t>(std::count_if(batch_.wants.begin(), batch_.wants.end(),
                                                          [want](unsigned wants) { return (wants & want) != 0; }));
  };
  const std::size_t topk = wanting(kWantTopk), sampled = wanting(kWantSample), best = wanting(kWantBest);
  const std::size_t draws = wanting(kWantDraws) * static_cast<std::size_t>(std::max(0L, batch_.draws_k));
  const auto best_k = static_cast<std::size_t>(best > 0 ? batch_.best_k : 0);
  const auto k = static_cast<std::size_t>(topk > 0 ? batch_.top_k : 0);
  const bool fits =
      output_.logits.reserve(wanting(kWantLogits) * static_cast<std::size_t>(spec.vocab)) &&
      output_.hidden.reserve(wanting(kWantHidden) * static_cast<std::size_t>(spec.hidden)) &&
      output_.topk_ids.reserve(topk * k) && output_.topk_values.reserve(topk * k) && output_.logsumexp.reserve(topk) &&
      output_.target_logprob.reserve(wanting(kWantTarget)) && output_.sampled.reserve(sampled) &&
      output_.sampled_logprob.reserve(sampled) && output_.acceptance.reserve(batch_.stop != nullptr ? sampled : 0) &&
      output_.best_ids.reserve(best * best_k) && output_.by_rule.reserve(approximate_ ? sampled : 0) &&
      output_.draw_ids.reserve(draws) && output_.draw_logq.reserve(draws) && output_.draw_values.reserve(draws) &&
      output_.steps.reserve(5 * steps) && output_.proposed.reserve(steps * static_cast<std::size_t>(longest_copy())) &&
      (!batch_.verify || copying() ||
       (output_.walk.reserve(static_cast<std::size_t>(batch_.rows())) &&
        output_.walked.reserve(batch_.sequences.size())));
  if (!fits) return Result::error(Status::kMemory, "Cannot allocate memory for the results of a batch");
  return {};
}

// Positions, scratch slots and KV pages of all rows.
Result Forward::prepare_rows() {
  const long rows = batch_.rows();
  const std::size_t sequences = batch_.sequences.size();
  position_.resize(static_cast<std::size_t>(rows));
  slot_.resize(static_cast<std::size_t>(rows));
  if (batch_.verify) next_walk_.assign(static_cast<std::size_t>(rows), -1);
  rows_of_.assign(sequences, {});
  trees_.assign(sequences, {});
  start_length_.clear();
  history_before_.clear();
  std::vector<std::vector<std::int32_t>> positions(sequences);  // scratch: per slot
  for (std::size_t s = 0; s < sequences; ++s) {
    start_length_.push_back(batch_.sequences[s]->length());
    history_before_.push_back(batch_.samplers[s] == nullptr ? 0 : batch_.samplers[s]->history.size());
    if (!batch_.continues) continue;
    trees_[s] = batch_.sequences[s]->tree();
    for (const std::int32_t parent : trees_[s].parents) {
      positions[s].push_back(parent < 0 ? static_cast<std::int32_t>(start_length_[s])
                                        : positions[s][static_cast<std::size_t>(parent)] + 1);
    }
  }
  for (long i = 0; i < rows; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const auto s = static_cast<std::size_t>(batch_.sequence[at]);
    std::vector<std::int32_t>& mine = rows_of_[s];
    Sequence::Tree& tree = trees_[s];
    long position = start_length_[s] + static_cast<long>(mine.size());
    slot_[at] = static_cast<std::int32_t>(batch_.scratch ? tree.parents.size() : mine.size());
    if (batch_.scratch) {
      std::int32_t parent = batch_.parent[at];
      const bool known =
          batch_.continues
              ? parent >= -1 && parent < slot_[at]
              : parent >= -1 && parent < i &&
                    (parent < 0 || batch_.sequence[static_cast<std::size_t>(parent)] == batch_.sequence[at]);
      if (!known) {
        return Result::error(Status::kArgument,
                             "Expected the parent of row " + std::to_string(i) + " to be -1 or " +
                                 (batch_.continues ? "a slot below " + std::to_string(slot_[at])
                                                   : std::string("an earlier row of the same sequence")) +
                                 ", received " + std::to_string(parent));
      }
      if (parent >= 0 && !batch_.continues) parent = slot_[static_cast<std::size_t>(parent)];
      position = parent < 0 ? start_length_[s] : positions[s][static_cast<std::size_t>(parent)] + 1;
      positions[s].push_back(static_cast<std::int32_t>(position));
      tree.parents.push_back(parent);
      if (!batch_.token.empty()) tree.tokens.push_back(batch_.token[at]);
    }
    if (position >= weights_->spec.context_length) {
      return Result::error(Status::kContext, "Expected at most " + std::to_string(weights_->spec.context_length) +
                                                 " tokens in the context");
    }
    position_[at] = static_cast<std::int32_t>(position);
    mine.push_back(static_cast<std::int32_t>(i));
  }
  for (std::size_t s = 0; s < sequences; ++s) {
    const auto count = static_cast<long>(batch_.scratch ? trees_[s].parents.size() : rows_of_[s].size());
    if ((batch_.scratch || in_place_) && count > ops::kMaxTreeRows) {
      return Result::error(Status::kArgument, "Expected at most " + std::to_string(ops::kMaxTreeRows) +
                                                  " tree rows for a sequence, received " + std::to_string(count));
    }
    const Status reserved =
        batch_.scratch ? batch_.sequences[s]->reserve_scratch(count) : batch_.sequences[s]->reserve(count);
    if (reserved != Status::kOk) {
      return Result::error(reserved, "Cannot allocate KV pages for " + std::to_string(count) + " tokens");
    }
  }
  clear_silent_layers();
  return {};
}

// Layers whose attention does not run write no keys; what an earlier token or tree left in those slots must not be
// seen.
void Forward::clear_silent_layers() {
  for (long l = 0; l < static_cast<long>(weights_->spec.layers.size()); ++l) {
    const bool skipped = !batch_.skip_attention.empty() && batch_.skip_attention[static_cast<std::size_t>(l)] != 0;
    if (l >= batch_.layer_begin && l < batch_.layer_end && !skipped) continue;
    for (long i = 0; i < batch_.rows(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      Sequence& sequence = *batch_.sequences[static_cast<std::size_t>(batch_.sequence[at])];
      if (batch_.scratch) {
        sequence.clear_scratch(l, slot_[at]);
      } else {
        sequence.clear(l, position_[at]);
      }
    }
  }
}

void Forward::roll_back() {
  for (std::size_t s = 0; s < first_length_.size(); ++s) {
    batch_.sequences[s]->truncate(first_length_[s]);
    if (batch_.samplers[s] != nullptr) batch_.samplers[s]->history.resize(first_history_[s]);
  }
}

Result Forward::step(Workspace& workspace, const std::atomic<bool>& abort, long most, bool* done) {
  workspace.count_anew();
  Chunk chunk;
  chunk.first = next_row_;
  chunk.n = std::min(most, batch_.rows() - next_row_);
  for (long i = 0; i < chunk.n; ++i) {
    const long sequence = batch_.sequence[static_cast<std::size_t>(chunk.first + i)];
    if (chunk.runs.empty() || chunk.runs.back().sequence != sequence) chunk.runs.push_back({sequence, i, i});
    chunk.runs.back().end = i + 1;
  }
  const std::int64_t begun = Profile::now();
  Result result = layers(chunk, workspace, abort);
  if (result.ok() && !batch_.scratch) {
    for (const Run& run : chunk.runs) {
      const auto s = static_cast<std::size_t>(run.sequence);
      if (!in_place_) batch_.sequences[s]->advance(run.end - run.begin);
      if (batch_.samplers[s] == nullptr || batch_.token.empty()) continue;
      for (long i = run.begin; i < run.end; ++i) {
        batch_.samplers[s]->history.push_back(batch_.token[static_cast<std::size_t>(chunk.first + i)]);
      }
    }
  }
  if (result.ok()) result = head(chunk, workspace);
  output_.scratch_bytes = std::max(output_.scratch_bytes, workspace.bytes());
  if (!result.ok()) return result;
  step_seconds_ += static_cast<double>(Profile::now() - begun) * 1e-9;
  next_row_ += chunk.n;
  *done = next_row_ == batch_.rows();
  if (!*done) return {};
  if (batch_.scratch) {
    for (std::size_t s = 0; s < trees_.size(); ++s) batch_.sequences[s]->set_tree(std::move(trees_[s]));
  }
  if (batch_.verify) {
    if (Result committed = commit_walks(); !committed.ok()) return committed;
  }
  if (copying()) note_step();
  if (batch_.repeat == 1 || !goes_on()) return {};
  *done = false;
  return next_token();
}

}  // namespace outrider
