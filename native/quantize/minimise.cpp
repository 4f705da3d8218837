#include "quantize/minimise.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "base/half.h"
#include "base/thread_pool.h"

namespace outrider::quantize {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.99;

// Adam (arXiv:1412.6980, algorithm 1) on one tensor.
class Adam {
 public:
  explicit Adam(std::vector<float>* values) : values_(*values), m_(values->size()), v_(values->size()) {
    double square = 0;
    for (const float value : values_) square += static_cast<double>(value) * value;
    size_ = std::sqrt(square / static_cast<double>(std::max<std::size_t>(1, values_.size())));
  }
  // `size`: what the rate is relative to; 0: the tensor's own.
  void step(const float* gradient, double rate, long t, double size) {
    const double by = rate * (size > 0 ? size : size_), first = 1 - std::pow(kBeta1, t),
                 second = 1 - std::pow(kBeta2, t);
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const double g = gradient[i];
      m_[i] = static_cast<float>(kBeta1 * m_[i] + (1 - kBeta1) * g);
      v_[i] = static_cast<float>(kBeta2 * v_[i] + (1 - kBeta2) * g * g);
      const double root = std::sqrt(v_[i] / second);
      if (root > 0) values_[i] -= static_cast<float>(by * (m_[i] / first) / (root + 1e-12));
    }
  }
  [[nodiscard]] double size() const { return size_; }

 private:
  std::vector<float>& values_;
  std::vector<float> m_, v_;
  double size_ = 0;
};

// Scale and the weight in the middle of the codes: less entangled than scale and zero.
struct Centred {
  std::vector<float> scale, middle, d_scale, d_middle;
};

// splitmix64 (Steele, Lea, Flood 2014)
std::uint64_t next(std::uint64_t* state) {
  std::uint64_t z = *state += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

class Minimiser {
 public:
  Minimiser(const DecoderSpec& spec, const MinimiseTask& task, const std::array<Trainable, kParts>& parts,
            const Effort& effort, BlockWeights* weights)
      : spec_(spec),
        task_(task),
        parts_(parts),
        effort_(effort),
        weights_(*weights),
        gradient_(spec, *std::max_element(task.lengths.begin(), task.lengths.end()), effort) {}

  Result run(MinimiseOutcome* out) {
    if (!gradient_.allocate(weights_))
      return Result::error(Status::kMemory, "Cannot allocate memory to train the scales of a block");
    std::vector<long> starts(task_.lengths.size());
    std::exclusive_scan(task_.lengths.begin(), task_.lengths.end(), starts.begin(), 0L);
    const std::array<Grid, kParts> grids = saved_grids();
    const auto norms = norms_of();
    std::vector<std::vector<float>> saved_norms;
    for (const std::vector<float>* norm : norms) saved_norms.push_back(*norm);
    if (Result done = mean_loss(starts, &out->before); !done.ok()) return done;

    std::vector<Adam> scales, middles, norm_states;
    for (int part = 0; part < kParts; ++part) {
      Centred& own = centred_[static_cast<std::size_t>(part)];
      if (parts_[static_cast<std::size_t>(part)].q != nullptr) centre(part, &own);
      scales.emplace_back(&own.scale);
      middles.emplace_back(&own.middle);
    }
    for (std::vector<float>* norm : norms) norm_states.emplace_back(norm);
    const auto sequences = static_cast<long>(starts.size()), steps = task_.epochs * sequences;
    std::vector<long> order(starts.size());
    std::iota(order.begin(), order.end(), 0L);
    std::uint64_t random = task_.seed;
    for (long t = 0; t < steps; ++t) {
      if (t % sequences == 0) {
        for (std::size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[next(&random) % (i + 1)]);
      }
      double loss = 0;
      if (Result done = pass(starts, order[static_cast<std::size_t>(t % sequences)], true, &loss); !done.ok())
        return done;
      const double fall =
          0.55 + 0.45 * std::cos(std::numbers::pi * static_cast<double>(t) / static_cast<double>(steps));
      const double rate = task_.rate * fall;
      for (int part = 0; part < kParts; ++part) {
        const auto at = static_cast<std::size_t>(part);
        if (parts_[at].q == nullptr) continue;
        collect(part);
        Centred& own = centred_[at];
        const double size = scales[at].size();
        scales[at].step(own.d_scale.data(), rate, t + 1, size);
        middles[at].step(own.d_middle.data(), rate, t + 1, size);
        write_back(part);
        image_of(*parts_[at].shape, parts_[at].q, *parts_[at].grid, effort_.threads, weights_.parts[at].w.as<float>());
      }
      const auto gradients = norm_gradients();
      for (std::size_t i = 0; i < norms.size(); ++i) norm_states[i].step(gradients[i]->data(), rate, t + 1, 0);
    }
    round_grids();
    if (Result done = mean_loss(starts, &out->after); !done.ok()) return done;
    if (out->after < out->before) return {};
    // NaN included: nothing was gained.
    out->after = out->before;
    for (int part = 0; part < kParts; ++part) {
      const auto at = static_cast<std::size_t>(part);
      if (parts_[at].q == nullptr) continue;
      *parts_[at].grid = grids[at];
      image_of(*parts_[at].shape, parts_[at].q, grids[at], effort_.threads, weights_.parts[at].w.as<float>());
    }
    for (std::size_t i = 0; i < norms.size(); ++i) *norms[i] = saved_norms[i];
    return {};
  }

 private:
  Result pass(const std::vector<long>& starts, long sequence, bool train, double* loss) {
    if (task_.abort != nullptr && task_.abort->load()) return Result::error(Status::kAborted, "aborted");
    const auto at = static_cast<std::size_t>(sequence);
    const long first = starts[at] * spec_.hidden;
    if (Result done = gradient_.forward(weights_, task_.layer, task_.x + first, task_.lengths[at]); !done.ok())
      return done;
    if (train) return gradient_.backward(weights_, task_.target + first, false, loss);
    *loss = gradient_.loss(task_.target + first);
    return {};
  }

  Result mean_loss(const std::vector<long>& starts, double* mean) {
    *mean = 0;
    for (long s = 0; s < static_cast<long>(starts.size()); ++s) {
      double loss = 0;
      if (Result done = pass(starts, s, false, &loss); !done.ok()) return done;
      *mean += loss / static_cast<double>(starts.size());
    }
    return {};
  }

  [[nodiscard]] float middle_code(int part) const {
    const Shape& s = *parts_[static_cast<std::size_t>(part)].shape;
    return 0.5f * static_cast<float>(s.high() - s.low());
  }

  void centre(int part, Centred* own) const {
    const Grid& grid = *parts_[static_cast<std::size_t>(part)].grid;
    own->scale = grid.scale;
    own->middle.resize(grid.zero.size());
    for (std::size_t i = 0; i < grid.zero.size(); ++i)
      own->middle[i] = grid.zero[i] + middle_code(part) * grid.scale[i];
    own->d_scale.resize(grid.scale.size());
    own->d_middle.resize(grid.scale.size());
  }

  void write_back(int part) const {
    const Centred& own = centred_[static_cast<std::size_t>(part)];
    Grid& grid = *parts_[static_cast<std::size_t>(part)].grid;
    grid.scale = own.scale;
    for (std::size_t i = 0; i < grid.zero.size(); ++i) grid.zero[i] = own.middle[i] - middle_code(part) * own.scale[i];
  }

  // Gradients of scales and middles from those of the matrix.
  void collect(int part) {
    const auto at = static_cast<std::size_t>(part);
    const Shape& s = *parts_[at].shape;
    const float* const dW = gradient_.gradients().parts[at].as<float>();
    const std::int8_t* const q = parts_[at].q;
    const float centre = static_cast<float>(s.low()) + middle_code(part);
    Centred& own = centred_[at];
    parallel(effort_.threads, [&](int index, int count) {
      const Share rows = share_of(s.M, index, count);
      for (long m = rows.begin; m < rows.end; ++m) {
        for (long g = 0; g < s.G; ++g) {
          float by_code = 0, alone = 0;
          for (long k = g * s.group; k < s.group_end(g); ++k) {
            const float d = dW[m * s.d + k];
            by_code += d * (static_cast<float>(q[m * s.d + k]) - centre);
            alone += d;
          }
          own.d_scale[static_cast<std::size_t>(m * s.G + g)] = by_code;
          own.d_middle[static_cast<std::size_t>(m * s.G + g)] = alone;
        }
      }
    });
  }

  void round_grids() {
    for (int part = 0; part < kParts; ++part) {
      const auto at = static_cast<std::size_t>(part);
      if (parts_[at].q == nullptr) continue;
      for (std::vector<float>* values : {&parts_[at].grid->scale, &parts_[at].grid->zero})
        for (float& value : *values) value = f16_to_f32(f32_to_f16(value));
      image_of(*parts_[at].shape, parts_[at].q, *parts_[at].grid, effort_.threads, weights_.parts[at].w.as<float>());
    }
  }

  [[nodiscard]] std::array<Grid, kParts> saved_grids() const {
    std::array<Grid, kParts> grids;
    for (std::size_t at = 0; at < grids.size(); ++at) {
      if (parts_[at].q != nullptr) grids[at] = *parts_[at].grid;
    }
    return grids;
  }

  [[nodiscard]] std::vector<std::vector<float>*> norms_of() const {
    std::vector<std::vector<float>*> norms{&weights_.attention_norm, &weights_.mlp_norm};
    if (spec_.qk_norm == QkNorm::kHead) norms.insert(norms.end(), {&weights_.q_norm, &weights_.k_norm});
    return norms;
  }
  [[nodiscard]] std::vector<const std::vector<float>*> norm_gradients() const {
    const BlockGradients& from = gradient_.gradients();
    return {&from.attention_norm, &from.mlp_norm, &from.q_norm, &from.k_norm};
  }

  const DecoderSpec& spec_;
  const MinimiseTask& task_;
  const std::array<Trainable, kParts>& parts_;
  Effort effort_;
  BlockWeights& weights_;
  BlockGradient gradient_;
  std::array<Centred, kParts> centred_;
};

}  // namespace

void image_of(const Shape& s, const std::int8_t* q, const Grid& grid, int threads, float* w) {
  over_groups(s, threads, [&](long m, long g) {
    const auto at = static_cast<std::size_t>(m * s.G + g);
    const float scale = grid.scale[at], zero = grid.zero[at];
    for (long k = g * s.group; k < s.group_end(g); ++k)
      w[m * s.d + k] = scale * static_cast<float>(q[m * s.d + k] - s.low()) + zero;
  });
}

Result minimise(const DecoderSpec& spec, const MinimiseTask& task, const std::array<Trainable, kParts>& parts,
                const Effort& effort, BlockWeights* weights, MinimiseOutcome* out) {
  return Minimiser(spec, task, parts, effort, weights).run(out);
}

}  // namespace outrider::quantize
