#include "ops/sample/sample.h"

#include <algorithm>
#include <cmath>

#include "ops/sample/candidate.h"
#include "ops/sample/scan.h"

namespace outrider::ops {
namespace {

bool likelier(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

std::uint64_t noise_stream(std::uint64_t seed, std::uint64_t position) {
  return mix(mix(seed + kGolden) ^ (position * 0xD1342543DE82EF95u + 1));
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

// The tokens that a call has to look at, brought to the front of its scratch. Of a vocabulary that is few of them: what
// concerns all is left to the scans.
class Shortlist {
 public:
  Shortlist(const SampleArgs& args, Level level)
      : args_(args),
        scans_(scans_of(level)),
        greedy_(args.params.temperature == 0 || args.params.top_k == 1),
        c_(reinterpret_cast<Candidate*>(args.scratch)),
        ids_(reinterpret_cast<std::int32_t*>(args.scratch + static_cast<std::size_t>(args.V) * sizeof(Candidate))),
        stream_(noise_stream(args.params.seed, args.position)),
        scan_{args.logits, args.V, ids_} {
    scan_.inverse = greedy_ ? 1.0 : 1.0 / static_cast<double>(args.params.temperature);
    scan_.stream = stream_;
  }

  // The token with the largest logit, the lowest of equals; -1 if that is not finite.
  std::int32_t best() {
    scans_.largest(scan_);
    if (!std::isfinite(scan_.largest)) return -1;
    scan_.least = scan_.largest;
    scans_.least(scan_);
    return ids_[0];
  }

  // Stages 3 to 7. Where they leave all tokens and the law is not asked for, those that may be drawn.
  long survivors() {
    SampleParams p = args_.params;
    if (greedy_) {
      whole_ = true;
      return largest(args_.draws);
    }
    if (p.top_k > 0 && p.top_k < args_.V) return filter(p, c_, largest(p.top_k));
    if (p.typical_p == 1) {
      if (p.top_p < 1) {
        if (const long n = nucleus(p.top_p); n > 0) {
          p.top_p = 1;
          return filter(p, c_, n);
        }
      } else if (p.min_p > 0) {
        // A little below the floor, which the filter knows exactly.
        return filter(p, c_, above(-std::log(static_cast<double>(p.min_p)) * (1 + 1e-6) + 1e-6));
      } else if (!args_.law) {
        whole_ = true;
        return noisy();
      }
    }
    return filter(p, c_, all());
  }

  // log sum exp of the law's logits.
  double mass(long n) {
    if (!whole_) return log_mass(c_, n);
    scans_.mass(scan_);
    return static_cast<double>(scan_.largest) * scan_.inverse + std::log(scan_.mass);
  }

  // What stage 8 looks for the largest of, and what that is at most.
  [[nodiscard]] double value(const Candidate& x) const { return greedy_ ? x.logit : x.logit + gumbel(bits(x.id)); }
  [[nodiscard]] double bound(const Candidate& x) const {
    return greedy_ ? x.logit : x.logit + gumbel_bound(bits(x.id));
  }
  [[nodiscard]] bool greedy() const { return greedy_; }

 private:
  [[nodiscard]] std::uint32_t bits(std::int32_t id) const {
    return uniform_bits(stream_, static_cast<std::uint64_t>(id));
  }

  [[nodiscard]] double scaled(std::int32_t id) const { return args_.logits[id] * scan_.inverse; }

  // The first `count` of ids_.
  long take(long count) {
    long n = 0;
    for (long i = 0; i < count; ++i) {
      if (args_.logits[ids_[i]] > -INFINITY) c_[n++] = {scaled(ids_[i]), ids_[i], 0, 0};  // false for NaN
    }
    return n;
  }

  long all() {
    long n = 0;
    for (long v = 0; v < args_.V; ++v) {
      const auto id = static_cast<std::int32_t>(v);
      if (args_.logits[v] > -INFINITY) c_[n++] = {scaled(id), id, 0, 0};
    }
    return n;
  }

  // The k largest, or all if there are fewer.
  long largest(long k) {
    for (double reach = 4; reach <= 64; reach *= 2) {
      const long n = above(reach);
      if (n >= k) return cut(k, n);
    }
    const long n = all();
    return n > k ? cut(k, n) : n;
  }

  long cut(long k, long n) {
    if (k < n) std::nth_element(c_, c_ + k, c_ + n, likelier);
    return k;
  }

  // Tokens whose logit after temperature is at most `reach` below the largest.
  long above(double reach) {
    scan_.least = static_cast<float>(static_cast<double>(scan_.largest) - reach / scan_.inverse);
    scans_.least(scan_);
    return take(scan_.count);
  }

  // The shortest run of the likeliest tokens whose mass reaches p; 0 if that takes too many of them.
  long nucleus(double p) {
    scans_.mass(scan_);
    const double most = static_cast<double>(scan_.largest) * scan_.inverse;
    for (double reach = 8; reach <= 32; reach *= 2) {
      const long n = above(reach);
      double mass = 0;
      for (long i = 0; i < n; ++i) mass += c_[i].probability = std::exp(c_[i].logit - most) / scan_.mass;
      if (mass > p + 1e-9) return keep_mass(c_, n, p, likelier);
    }
    return 0;
  }

  // Tokens that may be among the first: those whose noise may bring them to where the likeliest are with theirs.
  long noisy() {
    const long wanted = std::max(1L, args_.draws), n = largest(wanted);
    double mark = INFINITY;
    for (long i = 0; i < n; ++i) mark = std::min(mark, value(c_[i]));
    // The scan works in floats, from the largest logit on: where these would be too large or too far apart, all tokens
    // are looked at.
    const double most = static_cast<double>(scan_.largest) * scan_.inverse;
    scan_.mark = mark - most;
    const bool scannable = n == wanted && scan_.mark > -1000 && std::fabs(most) < 1e12 && scan_.inverse > 1e-30 &&
                           scan_.inverse < 1e30 && std::fabs(scan_.largest) < 1e30f;
    if (!scannable) return all();
    scans_.noise(scan_);
    return take(scan_.count);
  }

  const SampleArgs& args_;
  const Scans scans_;
  const bool greedy_;
  Candidate* const c_;
  std::int32_t* const ids_;  // [V]
  const std::uint64_t stream_;
  ScanArgs scan_;
  bool whole_ = false;  // the law is that of all tokens
};

}  // namespace

double sample_uniform(std::uint64_t seed, std::uint64_t position, std::uint32_t token) {
  return to_uniform(uniform_bits(noise_stream(seed, position), token));
}

std::size_t sample_scratch_bytes(long V) { return static_cast<std::size_t>(V) * (sizeof(Candidate) + 4); }

Status sample(SampleArgs& args, Level level) {
  apply_penalties(args, reinterpret_cast<std::int32_t*>(args.scratch));
  for (long i = 0; i < args.bias_count; ++i) args.logits[args.bias_ids[i]] += args.bias[i];
  for (long i = 0; i < args.suppressed_count; ++i) args.logits[args.suppressed[i]] = -INFINITY;

  Shortlist list(args, level);
  args.token = list.best();
  if (args.token < 0) return Status::kArgument;
  args.candidates = 0;
  if (list.greedy() && args.draws == 0) return Status::kOk;

  auto* const c = reinterpret_cast<Candidate*>(args.scratch);
  const long n = list.survivors();
  // A token that could not be among the first with the bound of its noise costs no logarithm. The likeliest survivor
  // goes first and sets the mark.
  double logit, value;
  Front front{&args.token, &logit, &value, 1};
  if (args.draws > 0) front = {args.draw_ids, args.draw_logq, args.draw_values, args.draws};
  std::swap(c[0], *std::min_element(c, c + n, likelier));
  for (const Candidate* x = c; x < c + n; ++x) {
    if (front.takes(list.bound(*x))) front.push(x->id, x->logit, list.value(*x));
  }
  if (!list.greedy()) args.candidates = n;
  if (args.draws == 0) return Status::kOk;
  args.token = args.draw_ids[0];
  const double mass = list.mass(n);
  for (long i = 0; i < args.draws; ++i) {
    if (i >= front.count) args.draw_ids[i] = -1;
    args.draw_logq[i] = i < front.count ? args.draw_logq[i] - mass : -INFINITY;
    args.draw_values[i] = i < front.count ? args.draw_values[i] - mass : -INFINITY;
  }
  return Status::kOk;
}

}  // namespace outrider::ops
