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
  // Copies from this place on.
  void start(long next) { next_ = next, changed_ = 0; }
  // The text, that had `length` tokens, has grown by this one, which stands for the one at the source.
  void pass(const std::vector<std::int32_t>& text, long length, std::int32_t token);
  // The place to go on from, or -1.
  [[nodiscard]] long next() const { return next_; }

 private:
  static constexpr int kMostChanged = 3;
  long next_ = -1;
  int changed_ = 0;  // last tokens that were others than those of the source
};

}  // namespace outrider
