// Adam with a rate that is relative to the size of what it changes.
#pragma once

#include <vector>

namespace outrider::quantize {

// Adam (arXiv:1412.6980, algorithm 1) on one tensor, which must stay where it is.
class Adam {
 public:
  explicit Adam(std::vector<float>* values);
  // t: number of the step, from 1. The rate is a part of `size`; 0: of the tensor's own root mean square at first.
  void step(const float* gradient, double rate, long t, double size = 0);
  [[nodiscard]] double size() const { return size_; }
  // What a later run needs to go on: values and both moments, in this order.
  void append_to(std::vector<std::vector<float>*>* state) { state->insert(state->end(), {&values_, &m_, &v_}); }

 private:
  std::vector<float>& values_;
  std::vector<float> m_, v_;
  double size_ = 0;
};

}  // namespace outrider::quantize
