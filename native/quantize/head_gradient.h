// The last norm, the output head and the divergence of what they say from what the original model says.
//
//   z = norm(x)   l = s E z   loss = 1/T sum_t KL(p*_t | p_t),  p = softmax(l),  s: the logit scale
//
// Source: knowledge distillation (arXiv:1503.02531) at temperature 1.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "quantize/dense_steps.h"

namespace outrider::quantize {

class HeadGradient {
 public:
  // For sequences of at most `longest` tokens.
  HeadGradient(long longest, long hidden, long vocab, float eps, float logit_scale, const Effort& effort);
  bool allocate();
  // Of the products with the student's head, from now on; f32 at first.
  void round(Factors factors) { factors_ = factors; }

  // x: [T, hidden] before the last norm; teacher: [T, hidden] after the original's. Both heads: [vocab, hidden].
  struct Task {
    const float *x, *teacher;
    long T;
    const std::vector<float>& norm;
    const Linear &head, &teacher_head;
    const std::atomic<bool>* abort;
  };
  // The loss in nats a token, and if `train` its gradients.
  Result run(const Task& task, bool train, double* loss);
  // In place of a teacher, one token drawn from each p_t: gradients of sum_t -log p_t(token). Teachers are not read.
  Result draw(const Task& task, std::uint64_t seed, double* loss);
  [[nodiscard]] const float* dx() const { return dx_.as<float>(); }  // [T, hidden]
  [[nodiscard]] const std::vector<float>& d_norm() const { return d_norm_; }

 private:
  template <typename Rows>
  Result each_chunk(const Task& task, bool train, const Rows& rows);

  long longest_, hidden_, vocab_, rows_;  // rows_: tokens whose logits are held at a time
  float eps_, scale_;
  Effort effort_;
  Factors factors_ = Factors::kF32;
  Product product_;
  Buffer z_, dz_, dx_, logits_, teacher_logits_;
  std::vector<float> d_norm_;
};

}  // namespace outrider::quantize
