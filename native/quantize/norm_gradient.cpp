#include "quantize/norm_gradient.h"

#include <cmath>

#include "quantize/dense_steps.h"

namespace outrider::quantize {

void norm_back(const float* x, const std::vector<float>& w, const float* dy, long rows, long K, float eps, bool add,
               const Effort& effort, float* dx, std::vector<float>* dw) {
  constexpr int kSlices = 16;  // whatever the threads, so that sums have the same bits
  std::vector<std::vector<double>> sums(kSlices);
  over(kSlices, effort, [&](long slice) {
    const Share mine = share_of(rows, static_cast<int>(slice), kSlices);
    std::vector<double>& own = sums[static_cast<std::size_t>(slice)];
    own.assign(static_cast<std::size_t>(K), 0.0);
    for (long n = mine.begin; n < mine.end; ++n) {
      const float *const xs = x + n * K, *const d = dy + n * K;
      float* const out = dx + n * K;
      double square = 0, dot = 0;
      for (long i = 0; i < K; ++i) {
        square += static_cast<double>(xs[i]) * xs[i];
        dot += static_cast<double>(d[i]) * w[static_cast<std::size_t>(i)] * xs[i];
      }
      const double r = 1 / std::sqrt(square / static_cast<double>(K) + static_cast<double>(eps));
      const double pull = r * r * dot / static_cast<double>(K);
      for (long i = 0; i < K; ++i) {
        const auto at = static_cast<std::size_t>(i);
        own[at] += d[i] * xs[i] * r;
        const auto value = static_cast<float>(r * (static_cast<double>(w[at]) * d[i] - xs[i] * pull));
        out[i] = add ? out[i] + value : value;
      }
    }
  });
  dw->assign(static_cast<std::size_t>(K), 0.0f);
  for (std::size_t i = 0; i < dw->size(); ++i) {
    double sum = 0;
    for (const auto& own : sums) sum += own[i];
    (*dw)[i] = static_cast<float>(sum);
  }
}

}  // namespace outrider::quantize
