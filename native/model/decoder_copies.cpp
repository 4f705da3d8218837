// Batches that draft by themselves: each step copies what came after a repetition, and says what came of it.
#include "model/decoder_chunk.h"

namespace outrider {

Result Forward::check_copies() const {
  const auto bad = [](const char* what) { return Result::error(Status::kArgument, what); };
  if (!copying()) return {};
  if (!batch_.verify || batch_.rows() != 1 || batch_.sequences.size() != 1)
    return bad("Expected one root of one sequence and verification for a batch that copies");
  if ((batch_.wants[0] & ~unsigned{kWantTopk}) != kWantSample || batch_.stop != nullptr || batch_.least_confidence > 0)
    return bad("Expected a batch that copies to want a token and perhaps the best ones, and to end by tokens alone");
  if (batch_.samplers[0]->accept.rule != ops::AcceptRule::kNone)
    return bad("Expected a sampler without a rule to accept tokens by for a batch that copies");
  if (batch_.most_tokens < 1 || batch_.most_tokens > kMostRepeats)
    return bad("Expected 1 to 4096 tokens at most of a batch that copies");
  if (static_cast<long>(batch_.copies.size()) > kLongestRun + 1)
    return bad("Expected at most 65 numbers of tokens to copy");
  for (const std::int32_t count : batch_.copies) {
    if (count < -1 || count > kMostCopied) return bad("Expected -1 to 255 tokens to copy");
  }
  return {};
}

// Tokens that a step proposes at most: one that is only noted, or those that are drafted.
long Forward::longest_copy() const {
  return copying() ? std::max(1L, long{*std::max_element(batch_.copies.begin(), batch_.copies.end())}) : 0;
}

// Tokens that a batch that copies may draw.
long Forward::most_drawn() const { return std::min(batch_.most_tokens, batch_.repeat * (1 + longest_copy())); }

// Adds the copy to the root, which is the batch so far.
void Forward::copy_rows() {
  Sampler& sampler = *batch_.samplers[0];
  std::vector<std::int32_t>& text = sampler.history;
  const std::int32_t root = batch_.token[0];
  const auto copies = [this](long matched) -> long {
    return batch_.copies[std::min(static_cast<std::size_t>(matched), batch_.copies.size() - 1)];
  };
  text.push_back(root);
  const auto end = static_cast<long>(text.size());
  repetition_ = longest_repetition(text);
  if (repetition_.matched > 0 && copies(repetition_.matched) >= 0) {
    sampler.source.start(repetition_.next);
  } else {
    repetition_ = {sampler.source.next(), 0};
  }
  const long wanted = copies(repetition_.matched);
  // A token is drawn after each that is copied, and all need a place in the context.
  const long room = std::min(batch_.most_tokens - static_cast<long>(output_.sampled.size()) - 1,
                             weights_->spec.context_length - batch_.sequences[0]->length() - 1);
  // A copy that overlaps its own end goes on with itself: the text repeats in a period. Behind other tokens than those
  // of the source nothing says so.
  const bool known = repetition_.next >= 0 && (repetition_.matched > 0 || repetition_.next < end) && wanted >= 0;
  const long period = known ? end - repetition_.next : 1;
  long count = known ? std::clamp(wanted, 0L, std::max(0L, room)) : 0;
  if (repetition_.matched == 0) count = std::min(count, period);
  proposed_ = static_cast<std::size_t>(known ? std::min(std::max(count, 1L), std::max(0L, room)) : 0);
  for (std::size_t i = 0; i < proposed_; ++i) {
    output_.proposed.push(text[static_cast<std::size_t>(repetition_.next + static_cast<long>(i) % period)]);
  }
  text.pop_back();
  batch_.parent = {-1};
  for (long i = 0; i < count; ++i) {
    batch_.token.push_back(output_.proposed.data()[output_.proposed.size() - proposed_ + static_cast<std::size_t>(i)]);
    batch_.sequence.push_back(0);
    batch_.parent.push_back(static_cast<std::int32_t>(i));
    batch_.wants.push_back(batch_.wants[0]);
  }
}

// Notes what came of the step, after its commit.
void Forward::note_step() {
  Sampler& sampler = *batch_.samplers[0];
  const auto drawn = static_cast<long>(sampler.history.size() - history_before_[0]);
  const std::int32_t* const tokens = output_.sampled.data() + output_.sampled.size() - static_cast<std::size_t>(drawn);
  const auto end =
      static_cast<long>(history_before_[0]) + 1;  // of the text that was copied from, the root its last token
  for (long i = 0; i < drawn; ++i) sampler.source.pass(sampler.history, end, tokens[i]);
  output_.steps.push(static_cast<std::int32_t>(drawn));
  output_.steps.push(static_cast<std::int32_t>(proposed_));
  output_.steps.push(static_cast<std::int32_t>(batch_.rows() - 1));
  output_.steps.push(static_cast<std::int32_t>(repetition_.matched));
  output_.step_seconds.push(step_seconds_);
  step_seconds_ = 0;
}

}  // namespace outrider
