#include "model/repetition.h"

#include <algorithm>

namespace outrider {
namespace {

// The first place from `at` on, before `end`, that has the token, or `end`. A block at a time, so that vectors compare.
long find(const std::int32_t* text, long at, long end, std::int32_t token) {
  constexpr long kBlock = 64;
  if (at < end && text[at] == token) return at;
  for (; at + kBlock <= end; at += kBlock) {
    std::int32_t found = 0;
    for (long i = 0; i < kBlock; ++i) found |= text[at + i] == token ? 1 : 0;
    if (found != 0) break;
  }
  return std::find(text + at, text + end, token) - text;
}

}  // namespace

Repetition longest_repetition(const std::vector<std::int32_t>& all) {
  Repetition longest;
  const std::int32_t* const text = all.data();
  const auto end = static_cast<long>(all.size()) - 1;  // the last token
  if (end < 0) return longest;
  for (long at = 0; (at = find(text, at, end, text[end])) < end; ++at) {
    const long most = std::min(kLongestRun, at + 1), beat = longest.matched;
    // Only a longer one counts: where it would differ first is looked at first.
    if (beat >= most || text[at - beat] != text[end - beat]) continue;
    long matched = 1;
    while (matched < most && text[at - matched] == text[end - matched]) ++matched;
    if (matched > beat) longest = {at + 1, matched};
    if (matched == kLongestRun) break;
  }
  return longest;
}

void CopySource::catch_up(const std::vector<std::int32_t>& text) {
  const auto size = static_cast<long>(text.size());
  if (size < length_) next_ = -1;
  for (; next_ >= 0 && length_ < size; ++length_) {
    const bool same =
        next_ < length_ && text[static_cast<std::size_t>(next_)] == text[static_cast<std::size_t>(length_)];
    changed_ = same ? 0 : changed_ + 1;
    next_ = changed_ > kMostChanged ? -1 : next_ + 1;
  }
  length_ = size;
}

}  // namespace outrider
