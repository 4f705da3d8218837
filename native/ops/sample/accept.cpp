#include "ops/sample/accept.h"

#include <algorithm>
#include <cmath>

#include "ops/sample/candidate.h"

namespace outrider::ops {
namespace {

// The tokens that a rule looks at: those that the last stage drew from, or all where nothing was drawn.
struct Field {
  const SampleArgs& args;
  const Candidate* candidates;
  bool all;

  template <typename Visit>
  void each(Visit visit) const {
    if (all) {
      for (long v = 0; v < args.V; ++v) {
        if (args.logits[v] > -INFINITY) visit(static_cast<std::int32_t>(v));  // false for NaN
      }
    }
    for (long i = 0; i < args.candidates; ++i) visit(candidates[i].id);
  }

  [[nodiscard]] bool likelier(std::int32_t a, std::int32_t b) const {
    return args.logits[a] > args.logits[b] || (args.logits[a] == args.logits[b] && a < b);
  }
};

bool is_typical(const AcceptParams& params, std::int32_t token, Candidate* c, long n) {
  normalise(c, n);
  double entropy = 0, probability = 0;
  for (long i = 0; i < n; ++i) {
    entropy -= c[i].probability * std::log(c[i].probability + 1e-5);
    if (c[i].id == token) probability = c[i].probability;
  }
  return probability > std::min(params.epsilon, params.delta * std::exp(-entropy));
}

bool is_near(const AcceptParams& params, std::int32_t token, const Field& field) {
  long before = 0;
  double most = -INFINITY;
  field.each([&](std::int32_t id) {
    if (field.likelier(id, token)) ++before;
    most = std::max(most, static_cast<double>(field.args.logits[id]));
  });
  return before < params.top && static_cast<double>(field.args.logits[token]) >= most - params.gap;
}

}  // namespace

std::int32_t accept(const AcceptParams& params, SampleArgs& drawn, std::vector<std::int32_t> offered) {
  const bool typical = params.rule == AcceptRule::kTypical;
  if (params.rule == AcceptRule::kNone || offered.empty()) return -1;
  auto* const candidates = reinterpret_cast<Candidate*>(drawn.scratch);
  const Field field{drawn, candidates, !typical && drawn.params.temperature == 0};
  std::sort(offered.begin(), offered.end());
  std::int32_t likeliest = -1;
  field.each([&](std::int32_t id) {
    if (likeliest >= 0 && !field.likelier(id, likeliest)) return;
    if (std::binary_search(offered.begin(), offered.end(), id)) likeliest = id;
  });
  if (likeliest < 0) return -1;
  const bool accepted =
      typical ? is_typical(params, likeliest, candidates, drawn.candidates) : is_near(params, likeliest, field);
  return accepted ? likeliest : -1;
}

}  // namespace outrider::ops
