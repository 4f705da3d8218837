#include "ops/sample/sample.h"

#include <algorithm>
#include <cmath>

#include "ops/sample/candidate.h"

namespace outrider::ops {
namespace {

bool likelier(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15u;

// Stateless 64-bit mixer (the finaliser of splitmix64).
std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9u;
  x ^= x >> 27;
  x *= 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

std::uint64_t noise_stream(std::uint64_t seed, std::uint64_t position) {
  return mix(mix(seed + kGolden) ^ (position * 0xD1342543DE82EF95u + 1));
}

std::uint32_t uniform_bits(std::uint64_t stream, std::uint32_t token) {
  return static_cast<std::uint32_t>(mix(stream + (static_cast<std::uint64_t>(token) + 1) * kGolden) >> 32);
}

double to_uniform(std::uint32_t bits) { return (static_cast<double>(bits) + 0.5) * 0x1p-32; }

double gumbel(std::uint32_t bits) { return -std::log(-std::log(to_uniform(bits))); }

// At least gumbel(bits), without its logarithms: -log u >= 1 - u > 2^-(z + 1) for z leading zeros of 1 - u.
double gumbel_bound(std::uint32_t bits) {
  const int zeros = bits == ~0u ? 32 : __builtin_clz(~bits);
  return static_cast<double>(zeros + 1) * 0.69314718055994530942;
}

void apply_penalties(SampleArgs& args, std::int32_t* counts_by_token) {
  const SampleParams& p = args.params;
  if (p.repetition == 1 && p.frequency == 0 && p.presence == 0) return;
  for (long i = 0; i < args.history_count; ++i) {
    const std::int32_t token = args.history[i];
    if (token >= 0 && token < args.V) counts_by_token[token] = 0;
  }
  for (long i = 0; i < args.history_count; ++i) {
    const std::int32_t token = args.history[i];
    if (token >= 0 && token < args.V) ++counts_by_token[token];
  }
  for (long i = 0; i < args.history_count; ++i) {
    const std::int32_t token = args.history[i];
    if (token < 0 || token >= args.V || counts_by_token[token] == 0) continue;
    float& logit = args.logits[token];
    logit = logit > 0 ? logit / p.repetition : logit * p.repetition;
    logit -= static_cast<float>(counts_by_token[token]) * p.frequency + p.presence;
    counts_by_token[token] = 0;  // each token once
  }
}

// Brings the shortest run of c, in the order of `before`, whose mass reaches p to the front and returns its length.
// Only as many candidates are sorted as that takes: a vocabulary has far more than a text ever draws from.
template <typename Before>
long keep_mass(Candidate* c, long n, double p, Before before) {
  double mass = 0;
  long sorted = 0;
  for (long block = 64; sorted < n; block *= 8) {
    const long end = std::min(n, sorted + block);
    if (end < n) std::nth_element(c + sorted, c + end, c + n, before);
    std::sort(c + sorted, c + end, before);
    for (; sorted < end; ++sorted) {
      mass += c[sorted].probability;
      if (mass >= p) return sorted + 1;
    }
  }
  return n;
}

long keep_typical(Candidate* c, long n, double p) {
  normalise(c, n);
  double entropy = 0;
  for (long i = 0; i < n; ++i) {
    if (c[i].probability > 0) entropy -= c[i].probability * std::log(c[i].probability);
  }
  for (long i = 0; i < n; ++i) {
    c[i].distance = c[i].probability > 0 ? std::fabs(-std::log(c[i].probability) - entropy) : INFINITY;
  }
  return keep_mass(c, n, p, [](const Candidate& a, const Candidate& b) {
    return a.distance < b.distance || (a.distance == b.distance && likelier(a, b));
  });
}

// Stages 4 to 7: brings the survivors to the front and returns how many there are.
long filter(const SampleParams& p, Candidate* c, long n) {
  if (p.top_k > 0 && p.top_k < n) {
    std::nth_element(c, c + p.top_k, c + n, likelier);
    n = p.top_k;
  }
  if (p.typical_p < 1) n = keep_typical(c, n, p.typical_p);
  if (p.top_p < 1) {
    normalise(c, n);
    n = keep_mass(c, n, p.top_p, likelier);
  }
  if (p.min_p > 0) {
    double largest = -INFINITY;
    for (long i = 0; i < n; ++i) largest = std::max(largest, c[i].logit);
    const double floor = largest + std::log(static_cast<double>(p.min_p));
    n = std::remove_if(c, c + n, [floor](const Candidate& x) { return x.logit < floor; }) - c;
  }
  return n;
}

// The first `most` of tokens that come in any order: values fall, and of equal ones the lowest id is first.
struct Front {
  std::int32_t* ids;
  double* logits;
  double* values;
  long most;
  long count = 0;

  // False if a token whose value is at most `bound` cannot be among them.
  [[nodiscard]] bool takes(double bound) const { return count < most || bound >= values[most - 1]; }

  void push(std::int32_t id, double logit, double value) {
    const auto behind = [&](long i) { return values[i] < value || (values[i] == value && ids[i] > id); };
    if (count == most && !behind(most - 1)) return;
    if (count < most) ++count;
    long at = count - 1;
    for (; at > 0 && behind(at - 1); --at) {
      ids[at] = ids[at - 1];
      logits[at] = logits[at - 1];
      values[at] = values[at - 1];
    }
    ids[at] = id;
    logits[at] = logit;
    values[at] = value;
  }
};

// log sum exp of n logits.
double log_mass(const Candidate* c, long n) {
  double largest = -INFINITY, total = 0;
  for (long i = 0; i < n; ++i) largest = std::max(largest, c[i].logit);
  for (long i = 0; i < n; ++i) total += std::exp(c[i].logit - largest);
  return largest + std::log(total);
}

}  // namespace

double sample_uniform(std::uint64_t seed, std::uint64_t position, std::uint32_t token) {
  return to_uniform(uniform_bits(noise_stream(seed, position), token));
}

std::size_t sample_scratch_bytes(long V) { return static_cast<std::size_t>(V) * sizeof(Candidate); }

Status sample(SampleArgs& args) {
  const SampleParams& p = args.params;
  apply_penalties(args, reinterpret_cast<std::int32_t*>(args.scratch));
  for (long i = 0; i < args.bias_count; ++i) args.logits[args.bias_ids[i]] += args.bias[i];
  for (long i = 0; i < args.suppressed_count; ++i) args.logits[args.suppressed[i]] = -INFINITY;

  long best = -1;
  for (long v = 0; v < args.V; ++v) {
    if (args.logits[v] > (best < 0 ? -INFINITY : args.logits[best])) best = v;
  }
  if (best < 0 || !std::isfinite(args.logits[best])) return Status::kArgument;
  args.token = static_cast<std::int32_t>(best);
  args.candidates = 0;
  const bool greedy = p.temperature == 0 || p.top_k == 1;
  if (greedy && args.draws == 0) return Status::kOk;

  auto* c = reinterpret_cast<Candidate*>(args.scratch);
  long n = 0;
  const double inverse = greedy ? 1.0 : 1.0 / static_cast<double>(p.temperature);
  for (long v = 0; v < args.V; ++v) {
    const float logit = args.logits[v];
    if (logit > -INFINITY) c[n++] = {logit * inverse, static_cast<std::int32_t>(v), 0, 0};  // false for NaN
  }
  if (!greedy) n = filter(p, c, n);

  // A token that could not be among the first with the bound of its noise costs no logarithm. The likeliest survivor
  // goes first and sets the mark.
  const std::uint64_t stream = noise_stream(p.seed, args.position);
  double logit, value;
  Front front{&args.token, &logit, &value, 1};
  if (args.draws > 0) front = {args.draw_ids, args.draw_logq, args.draw_values, args.draws};
  std::swap(c[0], *std::min_element(c, c + n, likelier));
  for (const Candidate* x = c; x < c + n; ++x) {
    const std::uint32_t bits = uniform_bits(stream, static_cast<std::uint32_t>(x->id));
    if (!front.takes(x->logit + (greedy ? 0 : gumbel_bound(bits)))) continue;
    front.push(x->id, x->logit, x->logit + (greedy ? 0 : gumbel(bits)));
  }
  if (!greedy) args.candidates = n;
  if (args.draws == 0) return Status::kOk;
  args.token = args.draw_ids[0];
  const double mass = log_mass(c, n);
  for (long i = 0; i < args.draws; ++i) {
    if (i >= front.count) args.draw_ids[i] = -1;
    args.draw_logq[i] = i < front.count ? args.draw_logq[i] - mass : -INFINITY;
    args.draw_values[i] = i < front.count ? args.draw_values[i] - mass : -INFINITY;
  }
  return Status::kOk;
}

}  // namespace outrider::ops
