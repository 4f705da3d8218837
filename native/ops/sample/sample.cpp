#include "ops/sample/sample.h"

#include <algorithm>
#include <cmath>

namespace outrider::ops {
namespace {

struct Candidate {
  double logit;  // after temperature
  std::int32_t id;
  double probability;
};

bool likelier(const Candidate& a, const Candidate& b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); }

// Stateless 64-bit mixer (the finaliser of splitmix64).
std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9u;
  x ^= x >> 27;
  x *= 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

constexpr double kLargestNoise = 22.88;  // -log(-log(1 - 2^-33))

double gumbel(std::uint64_t seed, std::uint64_t position, std::uint32_t token) {
  return -std::log(-std::log(sample_uniform(seed, position, token)));
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

// exp(logit - largest) normalised over the first n candidates. They need not be sorted.
void normalise(Candidate* c, long n) {
  double largest = -INFINITY, total = 0;
  for (long i = 0; i < n; ++i) largest = std::max(largest, c[i].logit);
  for (long i = 0; i < n; ++i) total += c[i].probability = std::exp(c[i].logit - largest);
  for (long i = 0; i < n; ++i) c[i].probability /= total;
}

// Length of the shortest run of c whose mass reaches p.
long mass_prefix(const Candidate* c, long n, double p) {
  double mass = 0;
  for (long i = 0; i < n; ++i) {
    mass += c[i].probability;
    if (mass >= p) return i + 1;
  }
  return n;
}

long keep_typical(Candidate* c, long n, double p) {
  normalise(c, n);
  double entropy = 0;
  for (long i = 0; i < n; ++i) {
    if (c[i].probability > 0) entropy -= c[i].probability * std::log(c[i].probability);
  }
  const auto distance = [entropy](const Candidate& x) {
    return x.probability > 0 ? std::fabs(-std::log(x.probability) - entropy) : INFINITY;
  };
  std::sort(c, c + n, [&](const Candidate& a, const Candidate& b) {
    const double da = distance(a), db = distance(b);
    return da < db || (da == db && likelier(a, b));
  });
  return mass_prefix(c, n, p);
}

}  // namespace

double sample_uniform(std::uint64_t seed, std::uint64_t position, std::uint32_t token) {
  const std::uint64_t stream = mix(mix(seed + 0x9E3779B97F4A7C15u) ^ (position * 0xD1342543DE82EF95u + 1));
  const std::uint64_t bits = mix(stream + (static_cast<std::uint64_t>(token) + 1) * 0x9E3779B97F4A7C15u);
  return (static_cast<double>(bits >> 32) + 0.5) * 0x1p-32;
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
  if (p.temperature == 0 || p.top_k == 1) return Status::kOk;

  auto* c = reinterpret_cast<Candidate*>(args.scratch);
  long n = 0;
  const double inverse = 1.0 / static_cast<double>(p.temperature);
  for (long v = 0; v < args.V; ++v) {
    const float logit = args.logits[v];
    if (logit > -INFINITY) c[n++] = {logit * inverse, static_cast<std::int32_t>(v), 0};  // false for NaN
  }
  if (p.top_k > 0 && p.top_k < n) {
    std::nth_element(c, c + p.top_k, c + n, likelier);
    n = p.top_k;
  }
  if (p.typical_p < 1) n = keep_typical(c, n, p.typical_p);
  if (p.top_p < 1) {
    normalise(c, n);
    std::sort(c, c + n, likelier);
    n = mass_prefix(c, n, p.top_p);
  }
  if (p.min_p > 0) {
    double largest = -INFINITY;
    for (long i = 0; i < n; ++i) largest = std::max(largest, c[i].logit);
    const double floor = largest + std::log(static_cast<double>(p.min_p));
    n = std::remove_if(c, c + n, [floor](const Candidate& x) { return x.logit < floor; }) - c;
  }

  // The noise is bounded because u is discrete: a token that could not win with the largest noise is not hashed.
  double winner = -INFINITY;
  for (long i = 0; i < n; ++i) {
    if (c[i].logit + kLargestNoise < winner) continue;
    const double value = c[i].logit + gumbel(p.seed, args.position, static_cast<std::uint32_t>(c[i].id));
    if (value > winner || (value == winner && c[i].id < args.token)) {
      winner = value;
      args.token = c[i].id;
    }
  }
  return Status::kOk;
}

}  // namespace outrider::ops
