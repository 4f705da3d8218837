#include "model/repetition.h"

#include <algorithm>

namespace outrider {
namespace {

// The first place from `at` on, before `end`, that has the token, or `end`. A block at a time, so that vectors compare.
long find(const std::int32_t* text, long at, long end, std::int32_t token) {
  constexpr long kBlock = 64;
  for (; at + kBlock <= end; at += kBlock) {
    std::int32_t found = 0;
    for (long i = 0; i < kBlock; ++i) found |= text[at + i] == token ? 1 : 0;
    if (found != 0) break;
  }
  return std::find(text + at, text + end, token) - text;
}

}  // namespace

Repetition longest_repetition(const std::vector<std::int32_t>& text) {
  Repetition longest;
  const auto end = static_cast<long>(text.size()) - 1;  // the last token
  if (end < 0) return longest;
  for (long at = 0; (at = find(text.data(), at, end, text.back())) < end; ++at) {
    const long most = std::min(kLongestRun, at + 1);
    long matched = 1;
    while (matched < most &&
           text[static_cast<std::size_t>(at - matched)] == text[static_cast<std::size_t>(end - matched)])
      ++matched;
    if (matched > longest.matched) longest = {at + 1, matched};
    if (matched == kLongestRun) break;
  }
  return longest;
}

void CopySource::pass(const std::vector<std::int32_t>& text, long length, std::int32_t token) {
  if (next_ < 0) return;
  const bool same = next_ < length && text[static_cast<std::size_t>(next_)] == token;
  changed_ = same ? 0 : changed_ + 1;
  next_ = changed_ > kMostChanged ? -1 : next_ + 1;
}

}  // namespace outrider
