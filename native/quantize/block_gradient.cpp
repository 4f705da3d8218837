#include "quantize/block_gradient.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/thread_pool.h"
#include "ops/rope/rope.h"
#include "quantize/norm_gradient.h"

namespace outrider::quantize {

bool differentiable(const DecoderSpec& spec, const BlockWeights& w) {
  return spec.activation == ops::Activation::kSilu && spec.attention_soft_cap == 0 && !w.attention_norm.empty() &&
         !w.mlp_norm.empty() && w.attention_post_norm.empty() && w.mlp_post_norm.empty() &&
         spec.qk_norm != QkNorm::kFull;
}

std::array<std::pair<Buffer*, long>, 13> BlockActivations::sizes(const DecoderSpec& spec, long L) {
  const long hidden = spec.hidden, Q = spec.heads * spec.head_dim, KV = spec.kv_heads * spec.head_dim, ffn = spec.ffn;
  const long normed = spec.qk_norm == QkNorm::kHead ? L : 0;
  return {{{&a, L * hidden},
           {&q_raw, normed * Q},
           {&k_raw, normed * KV},
           {&q, L * Q},
           {&k, L * KV},
           {&v, L * KV},
           {&scores, spec.heads * L * L},
           {&c, L * Q},
           {&h, L * hidden},
           {&m, L * hidden},
           {&gate, L * ffn},
           {&up, L * ffn},
           {&gated, L * ffn}}};
}

bool BlockActivations::allocate(const DecoderSpec& spec, long longest) {
  for (const auto& [buffer, count] : sizes(spec, longest)) {
    *buffer = floats(count);
    if (count > 0 && !*buffer) return false;
  }
  return true;
}

std::size_t BlockActivations::bytes(const DecoderSpec& spec, long longest) {
  BlockActivations none;
  std::size_t sum = 0;
  for (const auto& size : none.sizes(spec, longest)) sum += static_cast<std::size_t>(size.second) * sizeof(float);
  return sum;
}

BlockGradient::BlockGradient(const DecoderSpec& spec, long longest, const Effort& effort)
    : spec_(spec), longest_(longest), effort_(effort), product_(effort) {}

bool BlockGradient::allocate(const BlockWeights& w) {
  const long L = longest_, hidden = spec_.hidden, q = spec_.heads * spec_.head_dim,
             kv = spec_.kv_heads * spec_.head_dim, ffn = spec_.ffn;
  const std::pair<Buffer*, long> sizes[] = {{&branch_, L * std::max(hidden, spec_.head_dim)},
                                            {&y_, L * hidden},
                                            {&da_, L * hidden},
                                            {&dq_, L * q},
                                            {&dk_, L * kv},
                                            {&dv_, L * kv},
                                            {&dc_, L * q},
                                            {&dh_, L * hidden},
                                            {&dgate_, L * ffn},
                                            {&dup_, L * ffn},
                                            {&dgated_, L * ffn},
                                            {&dscores_, kQueries * L},
                                            {&turned_, L * std::max({L, hidden, q, ffn})},
                                            {&gradients_.x, L * hidden}};
  for (const auto& [buffer, count] : sizes) {
    *buffer = floats(count);
    if (!*buffer) return false;
  }
  if (!own_.allocate(spec_, L)) return false;
  for (int part = 0; part < kParts; ++part) {
    const auto at = static_cast<std::size_t>(part);
    gradients_.parts[at] = floats(w.parts[at].rows * w.parts[at].cols);
    if (!gradients_.parts[at]) return false;
  }
  std::vector<std::int32_t> positions(static_cast<std::size_t>(L));
  std::iota(positions.begin(), positions.end(), 0);
  for (const RopeSpec& rope : spec_.ropes) {
    const auto half = static_cast<long>(rope.inv_freq.size());
    for (std::vector<Buffer>* table : {&cos_, &sin_, &back_sin_}) {
      table->push_back(floats(L * half));
      if (!table->back()) return false;
    }
    ops::rope_table(positions.data(), L, rope.inv_freq.data(), half, rope.magnitude, cos_.back().as<float>(),
                    sin_.back().as<float>());
    for (long i = 0; i < L * half; ++i) back_sin_.back().as<float>()[i] = -sin_.back().as<float>()[i];
  }
  return true;
}

Result BlockGradient::project_back(const Linear& linear, Part part, const float* in, const float* d_out, float* d_in,
                                   bool add) {
  const auto at = static_cast<std::size_t>(part);
  const long T = kept_->T;
  if (squares_ != nullptr) {
    std::vector<double>& sums = (*squares_)[at];
    over(linear.rows, effort_, [&](long m) {
      double sum = 0;
      for (long t = 0; t < T; ++t) sum += static_cast<double>(d_out[t * linear.rows + m]) * d_out[t * linear.rows + m];
      sums[static_cast<std::size_t>(m)] += sum;
    });
  } else {
    // dW = d_out^T in
    transpose(d_out, T, linear.rows, linear.rows, effort_, turned_.as<float>());
    const View inputs{in, linear.cols, T, linear.cols, true};
    float* const dW = gradients_.parts[at].as<float>();
    if (Result done = product_.multiply(turned_.as<float>(), linear.rows, T, inputs, dW, linear.cols, factors_);
        !done.ok())
      return done;
  }
  if (d_in == nullptr) return {};
  // d_in = d_out W
  const View back{linear.w.as<float>(), linear.cols, linear.rows, linear.cols, true};
  float* const to = add ? branch_.as<float>() : d_in;
  if (Result done = product_.multiply(d_out, T, linear.rows, back, to, linear.cols, factors_); !done.ok()) return done;
  if (add) over(T * linear.cols, effort_, [&](long i) { d_in[i] += to[i]; });
  return {};
}

void BlockGradient::rotate(float* x, long heads, bool back) const {
  const int own = spec_.layers[static_cast<std::size_t>(kept_->layer)].rope;
  if (own < 0) return;
  const auto which = static_cast<std::size_t>(own);
  const RopeSpec& rope = spec_.ropes[which];
  const long D = spec_.head_dim;
  ops::rope({x, kept_->T, heads, D, heads * D, cos_[which].as<float>(), (back ? back_sin_ : sin_)[which].as<float>(),
             static_cast<long>(rope.inv_freq.size()), rope.interleaved},
            effort_.level);
}

// dP = dc v^T, dS = P (dP - sum dP P) scale, dq = dS k, dk += dS^T q, dv += P^T dc; heads of a group share k and v.
Result BlockGradient::attend_back(long head) {
  const long D = spec_.head_dim, H = spec_.heads, G = spec_.kv_heads, T = kept_->T, kv = head / (H / G);
  float* const S = dscores_.as<float>();
  for (long begin = 0; begin < T; begin += kQueries) {
    const long end = std::min(begin + kQueries, T), rows = end - begin, at = (begin * H + head) * D;
    const float* const P = kept_->scores.as<float>() + (head * T + begin) * T;
    const float* const dc = dc_.as<float>() + at;
    const View values{kept_->v.as<float>() + kv * D, end, D, G * D};
    if (Result done = product_.multiply(dc, rows, H * D, values, S, end); !done.ok()) return done;
    over(rows, effort_, [&](long i) {
      float* const row = S + i * end;
      const float* const p = P + i * T;
      double sum = 0;
      for (long j = 0; j <= begin + i; ++j) sum += static_cast<double>(row[j]) * p[j];
      for (long j = 0; j < end; ++j) row[j] = p[j] * (row[j] - static_cast<float>(sum)) * spec_.attention_scale;
    });
    const View keys{kept_->k.as<float>() + kv * D, D, end, G * D, true};
    if (Result done = product_.multiply(S, rows, end, keys, dq_.as<float>() + at, H * D); !done.ok()) return done;
    // to[key] += sum over the queries of matrix[query][key] from[query]
    const auto gather = [&](const float* matrix, long stride, const float* from, float* to) -> Result {
      transpose(matrix, rows, end, stride, effort_, turned_.as<float>());
      const View queries{from, D, rows, H * D, true};
      float* const part = branch_.as<float>();
      if (Result done = product_.multiply(turned_.as<float>(), end, rows, queries, part, D); !done.ok()) return done;
      over(end, effort_, [&](long t) {
        for (long i = 0; i < D; ++i) to[(t * G + kv) * D + i] += part[t * D + i];
      });
      return {};
    };
    if (Result done = gather(S, end, kept_->q.as<float>() + at, dk_.as<float>()); !done.ok()) return done;
    if (Result done = gather(P, T, dc, dv_.as<float>()); !done.ok()) return done;
  }
  return {};
}

Result BlockGradient::forward(const BlockWeights& w, long layer, const float* x, long T, BlockActivations* kept) {
  kept_ = kept != nullptr ? kept : &own_;
  kept_->T = T;
  kept_->layer = layer;
  kept_->x = x;
  const long hidden = spec_.hidden, D = spec_.head_dim, H = spec_.heads, G = spec_.kv_heads;
  const auto norm = [&](const float* in, const std::vector<float>& weight, float* out, long rows, long K) {
    norm_rows(in, weight, out, rows, K, spec_.norm_eps, effort_);
  };
  norm(x, w.attention_norm, kept_->a.as<float>(), T, hidden);
  const bool normed = spec_.qk_norm == QkNorm::kHead;
  float* const q = (normed ? kept_->q_raw : kept_->q).as<float>();
  float* const k = (normed ? kept_->k_raw : kept_->k).as<float>();
  if (Result done = project(w.parts[kQ], kept_->a.as<float>(), T, product_, q, factors_); !done.ok()) return done;
  if (Result done = project(w.parts[kK], kept_->a.as<float>(), T, product_, k, factors_); !done.ok()) return done;
  if (Result done = project(w.parts[kV], kept_->a.as<float>(), T, product_, kept_->v.as<float>(), factors_); !done.ok())
    return done;
  if (normed) {
    norm(q, w.q_norm, kept_->q.as<float>(), T * H, D);
    norm(k, w.k_norm, kept_->k.as<float>(), T * G, D);
  }
  rotate(kept_->q.as<float>(), H, false);
  rotate(kept_->k.as<float>(), G, false);
  const Heads heads{T, D, H, G, spec_.layers[static_cast<std::size_t>(layer)].window, spec_.attention_scale, 0.0f};
  for (long head = 0; head < H; ++head) {
    if (Result done = attend(heads, head, kept_->q.as<float>(), kept_->k.as<float>(), kept_->v.as<float>(), true,
                             kept_->scores.as<float>() + head * T * T, product_, kept_->c.as<float>());
        !done.ok()) {
      return done;
    }
  }
  const float r = spec_.residual_scale;
  float *const h = kept_->h.as<float>(), *const y = y_.as<float>(), *const branch = branch_.as<float>();
  if (Result done = project(w.parts[kO], kept_->c.as<float>(), T, product_, branch, factors_); !done.ok()) return done;
  over(T * hidden, effort_, [&](long i) { h[i] = x[i] + r * branch[i]; });
  norm(h, w.mlp_norm, kept_->m.as<float>(), T, hidden);
  if (Result done = project(w.parts[kGate], kept_->m.as<float>(), T, product_, kept_->gate.as<float>(), factors_);
      !done.ok())
    return done;
  if (Result done = project(w.parts[kUp], kept_->m.as<float>(), T, product_, kept_->up.as<float>(), factors_);
      !done.ok())
    return done;
  parallel(effort_.threads, [&](int index, int count) {
    const Share mine = share_of(T * spec_.ffn, index, count, 16);
    if (mine.begin < mine.end)
      ops::activation({ops::Activation::kSilu, kept_->gate.as<float>() + mine.begin, kept_->up.as<float>() + mine.begin,
                       kept_->gated.as<float>() + mine.begin, mine.end - mine.begin},
                      effort_.level);
  });
  if (Result done = project(w.parts[kDown], kept_->gated.as<float>(), T, product_, branch, factors_); !done.ok())
    return done;
  over(T * hidden, effort_, [&](long i) { y[i] = h[i] + r * branch[i]; });
  return {};
}

double BlockGradient::loss(const float* target) const {
  const long hidden = spec_.hidden, T = kept_->T;
  std::vector<double> errors(static_cast<std::size_t>(T));
  over(T, effort_, [&](long t) {
    double size = 0, error = 0;
    for (long i = t * hidden; i < (t + 1) * hidden; ++i) {
      const double lost = static_cast<double>(y_.as<float>()[i]) - target[i];
      size += static_cast<double>(target[i]) * target[i];
      error += lost * lost;
    }
    errors[static_cast<std::size_t>(t)] = error / std::max(size, 1e-30) / static_cast<double>(T);
  });
  return std::accumulate(errors.begin(), errors.end(), 0.0);
}

Result BlockGradient::backward(const BlockWeights& w, const float* target, bool want_x, double* loss) {
  const long hidden = spec_.hidden, T = kept_->T;
  const float* const y = y_.as<float>();
  float* const dy = dh_.as<float>();
  *loss = this->loss(target);
  over(T, effort_, [&](long t) {
    double size = 0;
    for (long i = t * hidden; i < (t + 1) * hidden; ++i) size += static_cast<double>(target[i]) * target[i];
    size = std::max(size, 1e-30);
    const auto factor = static_cast<float>(2 / size / static_cast<double>(T));
    for (long i = t * hidden; i < (t + 1) * hidden; ++i) dy[i] = (y[i] - target[i]) * factor;
  });
  return back(w, want_x);
}

Result BlockGradient::backward_from(const BlockWeights& w, const float* dy, bool want_x) {
  std::memcpy(dh_.data(), dy, static_cast<std::size_t>(kept_->T * spec_.hidden) * sizeof(float));
  return back(w, want_x);
}

Result BlockGradient::back(const BlockWeights& w, bool want_x) {
  const long hidden = spec_.hidden, D = spec_.head_dim, H = spec_.heads, G = spec_.kv_heads, T = kept_->T;
  const float r = spec_.residual_scale;
  // dh is dy until the MLP adds to it; y becomes r dy.
  float *const dh = dh_.as<float>(), *const y = y_.as<float>();
  over(T * hidden, effort_, [&](long i) { y[i] = r * dh[i]; });
  float *const dgated = dgated_.as<float>(), *const dgate = dgate_.as<float>(), *const dup = dup_.as<float>();
  if (Result done = project_back(w.parts[kDown], kDown, kept_->gated.as<float>(), y, dgated, false); !done.ok())
    return done;
  over(T * spec_.ffn, effort_, [&](long i) {
    const float gate = kept_->gate.as<float>()[i], sigmoid = 1 / (1 + std::exp(-gate));
    dup[i] = dgated[i] * gate * sigmoid;
    dgate[i] = dgated[i] * kept_->up.as<float>()[i] * sigmoid * (1 + gate * (1 - sigmoid));
  });
  float* const da = da_.as<float>();
  if (Result done = project_back(w.parts[kGate], kGate, kept_->m.as<float>(), dgate, da, false); !done.ok())
    return done;
  if (Result done = project_back(w.parts[kUp], kUp, kept_->m.as<float>(), dup, da, true); !done.ok()) return done;
  norm_back(kept_->h.as<float>(), w.mlp_norm, da, T, hidden, spec_.norm_eps, true, effort_, dh, &gradients_.mlp_norm);

  over(T * hidden, effort_, [&](long i) { y[i] = r * dh[i]; });
  if (Result done = project_back(w.parts[kO], kO, kept_->c.as<float>(), y, dc_.as<float>(), false); !done.ok())
    return done;
  std::memset(dk_.data(), 0, static_cast<std::size_t>(T * G * D) * sizeof(float));
  std::memset(dv_.data(), 0, static_cast<std::size_t>(T * G * D) * sizeof(float));
  for (long head = 0; head < H; ++head) {
    if (Result done = attend_back(head); !done.ok()) return done;
  }
  float *const dq = dq_.as<float>(), *const dk = dk_.as<float>();
  rotate(dq, H, true);
  rotate(dk, G, true);
  if (spec_.qk_norm == QkNorm::kHead) {
    norm_back(kept_->q_raw.as<float>(), w.q_norm, dq, T * H, D, spec_.norm_eps, false, effort_, dq, &gradients_.q_norm);
    norm_back(kept_->k_raw.as<float>(), w.k_norm, dk, T * G, D, spec_.norm_eps, false, effort_, dk, &gradients_.k_norm);
  }
  if (Result done = project_back(w.parts[kQ], kQ, kept_->a.as<float>(), dq, da, false); !done.ok()) return done;
  if (Result done = project_back(w.parts[kK], kK, kept_->a.as<float>(), dk, da, true); !done.ok()) return done;
  if (Result done = project_back(w.parts[kV], kV, kept_->a.as<float>(), dv_.as<float>(), da, true); !done.ok())
    return done;
  float* const dx = want_x ? gradients_.x.as<float>() : da;
  if (want_x) std::memcpy(dx, dh, static_cast<std::size_t>(T * hidden) * sizeof(float));
  norm_back(kept_->x, w.attention_norm, da, T, hidden, spec_.norm_eps, want_x, effort_, dx, &gradients_.attention_norm);
  return {};
}

}  // namespace outrider::quantize
