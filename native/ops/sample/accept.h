// Approximate acceptance: a drafted token in place of the one drawn, if a rule finds it likely enough.
//
//   typical: p(x) > min(epsilon, delta * exp(-H)), H = -sum p log(p + 1e-5)              (Medusa, arXiv:2401.10774)
//   relaxed: x is among the `top` largest l, and l(x) >= max l - gap                     (GAD++, arXiv:2203.16487)
//
// p is the law that sample() drew from: after penalties, bias, temperature and filters. l are the logits before the
// temperature, of the tokens that the filters left; nats between them are those between log-probabilities. Greedy
// sampling draws from one certain token, so that typical accepts no other; relaxed looks at all tokens then, since
// filters do not run at temperature 0, and at the one that top_k 1 leaves at any other.
// The papers take the longest accepted path of a tree, Medusa the first token greedily; here every row draws first, and
// asks a rule where the token drawn was not drafted.
// Both rules accept what is likelier than something they accept, so that the likeliest token offered decides.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/sample/sample.h"

namespace outrider::ops {

enum class AcceptRule : std::uint8_t { kNone, kTypical, kRelaxed };

struct AcceptParams {
  AcceptRule rule = AcceptRule::kNone;
  double epsilon = 0, delta = 0;  // typical: (0, 1] each
  long top = 0;                   // relaxed: 1 or more
  double gap = 0;                 // relaxed: nats, >= 0
};

// The likeliest of `offered` that the rule accepts, the lowest id of equals; -1 if it accepts none.
// drawn: as sample() has left it, logits and scratch included; scratch is used. offered: ids in [0, V), any order.
// Suppressed tokens, those that a filter removed and NaN logits are never accepted. Cost: O(V log(offered)).
[[nodiscard]] std::int32_t accept(const AcceptParams& params, SampleArgs& drawn, std::vector<std::int32_t> offered);

}  // namespace outrider::ops
