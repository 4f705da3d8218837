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
  if (!(batch_.most_seconds > 0)) return bad("Expected a positive time for a batch that copies");
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
  const auto copies = [this](long matched) -> long {
    return batch_.copies[std::min(static_cast<std::size_t>(matched), batch_.copies.size() - 1)];
  };
  text.push_back(batch_.token[0]);
  const auto end = static_cast<long>(text.size());
  sampler.source.catch_up(text);
  repetition_ = longest_repetition(text);
  if (repetition_.matched > 0 && copies(repetition_.matched) >= 0) {
    sampler.source.start(repetition_.next, end);
  } else {
    repetition_ = {sampler.source.next(), 0};
  }
  const long wanted = repetition_.next < 0 ? -1 : copies(repetition_.matched);
  // A token is drawn after each that is copied, and all need a place in the context.
  const long room = std::min(batch_.most_tokens - static_cast<long>(output_.sampled.size()) - 1,
                             weights_->spec.context_length - batch_.sequences[0]->length() - 1);
  // A copy that overlaps its own end goes on with itself: the text repeats in a period. Behind other tokens than those
  // of the source nothing says so.
  const long period = end - repetition_.next;
  const long most = repetition_.matched > 0 ? room : std::min(room, period);
  const long known = wanted < 0 ? 0 : std::min(std::max(wanted, 1L), most);
  proposed_ = 0;
  for (long i = 0; i < known; ++i) {
    const std::int32_t token = text[static_cast<std::size_t>(repetition_.next + i % period)];
    if (token < 0 || token >= weights_->spec.vocab) break;  // a history may say what the model has no row for
    output_.proposed.push(token);
    ++proposed_;
  }
  text.pop_back();
  batch_.parent = {-1};
  for (long i = 0; i < std::min(wanted, static_cast<long>(proposed_)); ++i) {
    batch_.token.push_back(output_.proposed.data()[output_.proposed.size() - proposed_ + static_cast<std::size_t>(i)]);
    batch_.sequence.push_back(0);
    batch_.parent.push_back(static_cast<std::int32_t>(i));
    batch_.wants.push_back(batch_.wants[0]);
  }
}

// Notes what came of the step, after its commit.
void Forward::note_step() {
  const std::size_t drawn = batch_.samplers[0]->history.size() - history_before_[0];
  if (proposed_ == 0 && quiet_step_ != nullptr) {
    quiet_step_[0] += static_cast<double>(drawn);
    quiet_step_[4] += step_seconds_;
  } else {
    double* const step = output_.steps.extend(5);
    step[0] = static_cast<double>(drawn);
    step[1] = static_cast<double>(proposed_);
    step[2] = static_cast<double>(batch_.rows() - 1);
    step[3] = static_cast<double>(repetition_.matched);
    step[4] = step_seconds_;
    quiet_step_ = proposed_ == 0 ? step : nullptr;
  }
  copying_seconds_ += step_seconds_;
  step_seconds_ = 0;
}

}  // namespace outrider
