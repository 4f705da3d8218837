// Verification of drafted trees: which rows the walk visits, known row by row as tokens are drawn, and their commit.
#include "model/decoder_chunk.h"

namespace outrider {

Result Forward::check_verify() const {
  const auto bad = [](const char* what) { return Result::error(Status::kArgument, what); };
  if (!batch_.verify) return {};
  const auto layers = static_cast<long>(weights_->spec.layers.size());
  if (!batch_.scratch || batch_.token.empty() || batch_.layer_begin != 0 || batch_.layer_end != layers)
    return bad("Expected tree rows, tokens and all layers for a batch that verifies");
  std::vector<std::int32_t> root(batch_.sequences.size(), -1);
  for (std::size_t i = 0; i < batch_.wants.size(); ++i) {
    const auto s = static_cast<std::size_t>(batch_.sequence[i]);
    if ((batch_.wants[i] & kWantSample) == 0 || (batch_.wants[i] & kWantHidden) != 0)
      return bad("Expected every row of a batch that verifies to want a token, and none hidden states");
    if ((root[s] < 0) != (batch_.parent[i] < 0) || (root[s] >= 0 && batch_.sequence[i - 1] != batch_.sequence[i]))
      return bad("Expected the rows of each sequence together, the root first and alone, in a batch that verifies");
    if (root[s] < 0) root[s] = static_cast<std::int32_t>(i);
  }
  return {};
}

// Whether a row gives what it wants. Rows come in order, parents first: a tree's row is on the walk if the walk is at
// its parent, says its token there, and goes on.
bool Forward::walks(long row) const {
  if (!batch_.verify) return true;
  const std::int32_t parent = batch_.parent[static_cast<std::size_t>(row)];
  return parent < 0 || next_walk_[static_cast<std::size_t>(parent)] == row;
}

bool Forward::ends(std::int32_t token) const {
  return std::find(batch_.ends.begin(), batch_.ends.end(), token) != batch_.ends.end();
}

// What a row says: the token just drawn, or a child's that the sampler's rule accepts in its place.
std::int32_t Forward::accepted(long row, ops::SampleArgs& args) const {
  const auto at = static_cast<std::size_t>(row), rows = batch_.sequence.size();
  const ops::AcceptParams& rule = batch_.samplers[static_cast<std::size_t>(batch_.sequence[at])]->accept;
  if (!batch_.verify || rule.rule == ops::AcceptRule::kNone || ends(args.token)) return args.token;
  std::vector<std::int32_t> offered;
  for (std::size_t i = at + 1; i < rows && batch_.sequence[i] == batch_.sequence[at]; ++i) {
    if (batch_.parent[i] != row) continue;
    if (batch_.token[i] == args.token) return args.token;
    offered.push_back(batch_.token[i]);
  }
  const std::int32_t token = ops::accept(rule, args, std::move(offered));
  return token < 0 ? args.token : token;
}

// Notes the token that a row says.
void Forward::drawn(long row, std::int32_t token, float logprob, bool by_rule) {
  output_.sampled.push(token);
  output_.sampled_logprob.push(logprob);
  if (!batch_.verify) return;
  if (approximate_) output_.by_rule.push(by_rule ? 1 : 0);
  if (ends(token)) return;
  const auto at = static_cast<std::size_t>(row), rows = batch_.sequence.size();
  for (std::size_t i = at + 1; i < rows && batch_.sequence[i] == batch_.sequence[at]; ++i) {
    if (batch_.parent[i] != row || batch_.token[i] != token) continue;
    next_walk_[at] = static_cast<std::int32_t>(i);
    return;
  }
}

// Whether every row but the first of its sequence is the child of the one before. Only after check_verify().
bool Forward::only_chains() const {
  for (std::size_t i = 0; i < batch_.parent.size(); ++i) {
    if (batch_.parent[i] >= 0 && batch_.parent[i] + 1 != static_cast<std::int32_t>(i)) return false;
  }
  return true;
}

// Appends the rows of all walks to their sequences.
Result Forward::commit_walks() {
  std::int32_t* const walked = copying() ? nullptr : output_.walked.extend(batch_.sequences.size());
  if (walked != nullptr) std::fill_n(walked, batch_.sequences.size(), 0);
  for (std::size_t i = 0; i < batch_.sequence.size(); ++i) {  // roots in order, as the tokens were drawn
    if (batch_.parent[i] >= 0) continue;
    const auto s = static_cast<std::size_t>(batch_.sequence[i]);
    std::vector<std::int32_t> slots;
    for (auto row = static_cast<std::int32_t>(i); row >= 0; row = next_walk_[static_cast<std::size_t>(row)]) {
      if (walked != nullptr) output_.walk.push(row);
      slots.push_back(slot_[static_cast<std::size_t>(row)]);
    }
    const auto count = static_cast<long>(slots.size());
    if (walked != nullptr) walked[s] = static_cast<std::int32_t>(count);
    if (in_place_) {
      batch_.sequences[s]->keep(count);
      batch_.samplers[s]->history.resize(history_before_[s] + slots.size());
      continue;
    }
    if (batch_.sequences[s]->commit(slots.data(), count, &batch_.samplers[s]->history) != Status::kOk)
      return Result::error(Status::kMemory, "Cannot allocate KV pages for " + std::to_string(count) + " tokens");
  }
  return {};
}

}  // namespace outrider
