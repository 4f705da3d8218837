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
  if (p.temperature == 0 || p.top_k == 1) return Status::kOk;

  auto* c = reinterpret_cast<Candidate*>(args.scratch);
  long n = 0;
  const double inverse = 1.0 / static_cast<double>(p.temperature);
  for (long v = 0; v < args.V; ++v) {
    const float logit = args.logits[v];
    if (logit > -INFINITY) c[n++] = {logit * inverse, static_cast<std::int32_t>(v), 0, 0};  // false for NaN
  }
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

  // A token that could not win with the bound of its noise costs no logarithm. The likeliest survivor goes first and
  // sets the mark.
  const std::uint64_t stream = noise_stream(p.seed, args.position);
  double winner = -INFINITY;
  const auto consider = [&](const Candidate& x) {
    const std::uint32_t bits = uniform_bits(stream, static_cast<std::uint32_t>(x.id));
    if (x.logit + gumbel_bound(bits) < winner) return;
    const double value = x.logit + gumbel(bits);
    if (value > winner || (value == winner && x.id < args.token)) {
      winner = value;
      args.token = x.id;
    }
  };
  long first = 0;
  for (long i = 1; i < n; ++i) {
    if (likelier(c[i], c[first])) first = i;
  }
  consider(c[first]);
  for (long i = 0; i < n; ++i) consider(c[i]);
  args.candidates = n;
  return Status::kOk;
}

}  // namespace outrider::ops
