#include "quantize/local_search.h"

#include "base/thread_pool.h"

namespace outrider::quantize {
namespace {

constexpr int kSweeps = 16;  // far more than it takes; the images of f32 drift apart from the truth with each change

void search_row(const float* H, const Shape& s, const float* scale, const float* zero,
                const std::vector<std::int32_t>& order, float* __restrict image, std::int8_t* q) {
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    bool changed = false;
    for (const std::int32_t k : order) {
      const float* const row = H + static_cast<long>(k) * s.d;
      if (!(row[k] > 0)) continue;
      const float step = scale[k / s.group], offset = zero[k / s.group];
      const float now = step * static_cast<float>(q[k]) + offset;
      const int code = nearest(now - image[k] / row[k], step, offset, s.low(), s.high());
      if (code == q[k]) continue;
      const float by = step * static_cast<float>(code) + offset - now;
      // Rounding may name a level that is no better by more than rounding.
      if (!(2 * image[k] * by + by * by * row[k] < 0)) continue;
      q[k] = static_cast<std::int8_t>(code);
      for (long i = 0; i < s.d; ++i) image[i] += by * row[i];
      changed = true;
    }
    if (!changed) return;
  }
}

}  // namespace

void local_search(const float* H, const Shape& s, const Grid& grid, const std::vector<std::int32_t>& order, int threads,
                  float* image, std::int8_t* q) {
  parallel(threads, [&](int index, int count) {
    const Share rows = share_of(s.M, index, count);
    for (long m = rows.begin; m < rows.end; ++m) {
      search_row(H, s, grid.scale.data() + m * s.G, grid.zero.data() + m * s.G, order, image + m * s.d, q + m * s.d);
    }
  });
}

}  // namespace outrider::quantize
