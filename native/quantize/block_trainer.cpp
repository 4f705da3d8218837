#include "quantize/block_trainer.h"

#include "base/half.h"
#include "base/thread_pool.h"

namespace outrider::quantize {

void image_of(const Shape& s, const std::int8_t* q, const Grid& grid, int threads, float* w) {
  over_groups(s, threads, [&](long m, long g) {
    const auto at = static_cast<std::size_t>(m * s.G + g);
    const float scale = grid.scale[at], zero = grid.zero[at];
    for (long k = g * s.group; k < s.group_end(g); ++k)
      w[m * s.d + k] = scale * static_cast<float>(q[m * s.d + k] - s.low()) + zero;
  });
}

BlockTrainer::BlockTrainer(const std::array<Trainable, kParts>& parts, const Norms& norms, int threads)
    : parts_(parts), norms_(norms), threads_(threads) {
  for (int part = 0; part < kParts; ++part) {
    Centred& own = own_[at(part)];
    if (parts_[at(part)].q != nullptr) {
      const Grid& grid = *parts_[at(part)].grid;
      own.scale = grid.scale;
      own.middle.resize(grid.zero.size());
      for (std::size_t i = 0; i < grid.zero.size(); ++i)
        own.middle[i] = grid.zero[i] + middle_code(part) * grid.scale[i];
      own.d_scale.resize(grid.scale.size());
      own.d_middle.resize(grid.scale.size());
    }
    scales_.emplace_back(&own.scale);
    middles_.emplace_back(&own.middle);
  }
  for (std::vector<float>* norm : norms_) norm_states_.emplace_back(norm);
}

float BlockTrainer::middle_code(int part) const {
  const Shape& s = *parts_[at(part)].shape;
  return 0.5f * static_cast<float>(s.high() - s.low());
}

void BlockTrainer::write_back(int part) {
  const Centred& own = own_[at(part)];
  Grid& grid = *parts_[at(part)].grid;
  grid.scale = own.scale;
  for (std::size_t i = 0; i < grid.zero.size(); ++i) grid.zero[i] = own.middle[i] - middle_code(part) * own.scale[i];
}

void BlockTrainer::collect(const BlockGradients& gradients) {
  for (int part = 0; part < kParts; ++part) {
    if (parts_[at(part)].q == nullptr) continue;
    const Shape& s = *parts_[at(part)].shape;
    const float* const dW = gradients.parts[at(part)].as<float>();
    const std::int8_t* const q = parts_[at(part)].q;
    const float centre = static_cast<float>(s.low()) + middle_code(part);
    Centred& own = own_[at(part)];
    over_groups(s, threads_, [&](long m, long g) {
      float by_code = 0, alone = 0;
      for (long k = g * s.group; k < s.group_end(g); ++k) {
        const float d = dW[m * s.d + k];
        by_code += d * (static_cast<float>(q[m * s.d + k]) - centre);
        alone += d;
      }
      own.d_scale[static_cast<std::size_t>(m * s.G + g)] = by_code;
      own.d_middle[static_cast<std::size_t>(m * s.G + g)] = alone;
    });
  }
}

void BlockTrainer::step(const BlockGradients& gradients, double rate, long t) {
  for (int part = 0; part < kParts; ++part) {
    if (parts_[at(part)].q == nullptr) continue;
    const double size = scales_[at(part)].size();
    scales_[at(part)].step(own_[at(part)].d_scale.data(), rate, t, size);
    middles_[at(part)].step(own_[at(part)].d_middle.data(), rate, t, size);
    write_back(part);
  }
  const std::vector<float>* const by_norm[] = {&gradients.attention_norm, &gradients.mlp_norm, &gradients.q_norm,
                                               &gradients.k_norm};
  for (std::size_t i = 0; i < norms_.size(); ++i) {
    if (!norms_[i]->empty()) norm_states_[i].step(by_norm[i]->data(), rate, t);
  }
}

void BlockTrainer::round() {
  for (const Trainable& part : parts_) {
    if (part.q == nullptr) continue;
    for (std::vector<float>* values : {&part.grid->scale, &part.grid->zero})
      for (float& value : *values) value = f16_to_f32(f32_to_f16(value));
  }
}

void BlockTrainer::images(BlockWeights* w) const {
  for (int part = 0; part < kParts; ++part) {
    const Trainable& own = parts_[at(part)];
    if (own.q != nullptr) image_of(*own.shape, own.q, *own.grid, threads_, w->parts[at(part)].w.as<float>());
  }
}

std::vector<std::vector<float>*> BlockTrainer::state() {
  std::vector<std::vector<float>*> all;
  for (std::vector<Adam>* states : {&scales_, &middles_, &norm_states_})
    for (Adam& one : *states) one.append_to(&all);
  return all;
}

void BlockTrainer::restored() {
  for (int part = 0; part < kParts; ++part) {
    if (parts_[at(part)].q != nullptr) write_back(part);
  }
}

}  // namespace outrider::quantize
