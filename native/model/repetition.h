// Where a text repeats itself, and what came after it there: drafts that need nothing but the text (prompt lookup
// decoding; the longest match as in SAM-Decoding, arXiv:2411.10666).
#pragma once

#include <cstdint>
#include <vector>

namespace outrider {

// Tokens of a repetition that are counted at most.
constexpr long kLongestRun = 64;

struct Repetition {
  long next = -1;    // the place behind the earlier occurrence
  long matched = 0;  // tokens that agree before it, at most kLongestRun
};

// The earlier place where most of the last tokens of a text occurred, one after the other; of several the first.
Repetition longest_repetition(const std::vector<std::int32_t>& text);

// A place of the text that is being copied from, token by token: where some of the last tokens were others than those
// of the source, the copy goes on behind them.
class CopySource {
 public:
  // The text continues what came before this place.
  void start(long next, long length) { next_ = next, length_ = length, changed_ = 0; }
  // Goes along the tokens that the text has grown by: each stands for one of the source. A text that has shrunk is
  // another one.
  void catch_up(const std::vector<std::int32_t>& text);
  // The place to go on from, or -1.
  [[nodiscard]] long next() const { return next_; }

 private:
  static constexpr int kMostChanged = 3;
  long next_ = -1;
  long length_ = 0;  // of the text so far
  int changed_ = 0;  // last tokens that were others than those of the source
};

}  // namespace outrider
