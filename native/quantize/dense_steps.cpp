#include "quantize/dense_steps.h"

#include <algorithm>

#include "ops/rmsnorm/rmsnorm.h"
#include "ops/softmax/softmax.h"

namespace outrider::quantize {

Result project(const Linear& linear, const float* in, long T, Product& product, float* out, Factors factors) {
  const View w{linear.w.as<float>(), linear.rows, linear.cols, linear.cols};
  if (Result done = product.multiply(in, T, linear.cols, w, out, linear.rows, factors); !done.ok()) return done;
  if (linear.bias.empty()) return {};
  over(T, product.effort(), [&](long t) {
    for (long m = 0; m < linear.rows; ++m) out[t * linear.rows + m] += linear.bias[static_cast<std::size_t>(m)];
  });
  return {};
}

void embed(const Linear& table, const std::int32_t* tokens, long T, float scale, float* out) {
  for (long t = 0; t < T; ++t) {
    const float* const row = table.w.as<float>() + tokens[t] * table.cols;
    for (long c = 0; c < table.cols; ++c) out[t * table.cols + c] = row[c] * scale;
  }
}

void transpose(const float* from, long rows, long cols, long stride, const Effort& effort, float* to) {
  // Tiles whose lines stay in the first-level cache: columns of it are read from them, rows written whole.
  constexpr long kTile = 64, kColumns = 16;
  over((cols + kColumns - 1) / kColumns, effort, [&](long tile) {
    const long first = tile * kColumns, end = std::min(first + kColumns, cols);
    for (long r = 0; r < rows; r += kTile) {
      const long last = std::min(r + kTile, rows);
      for (long c = first; c < end; ++c) {
        for (long i = r; i < last; ++i) to[c * rows + i] = from[i * stride + c];
      }
    }
  });
}

void norm_rows(const float* x, const std::vector<float>& weight, float* out, long rows, long K, float eps,
               const Effort& effort) {
  parallel(effort.threads, [&](int index, int count) {
    const Share mine = share_of(rows, index, count);
    if (mine.begin == mine.end) return;
    const long at = mine.begin * K;
    ops::rmsnorm({x + at, weight.data(), out + at, mine.end - mine.begin, K, K, K, eps}, effort.level);
  });
}

Result attend(const Heads& s, long head, const float* q, const float* k, const float* v, bool keep, float* weights,
              Product& product, float* out) {
  const long D = s.D, kv = head / (s.H / s.G);
  for (long begin = 0; begin < s.T; begin += kQueries) {
    const long end = std::min(begin + kQueries, s.T), rows = end - begin, at = (begin * s.H + head) * D;
    float* const P = keep ? weights + begin * s.T : weights;
    const View keys{k + kv * D, end, D, s.G * D};
    if (Result done = product.multiply(q + at, rows, s.H * D, keys, P, s.T); !done.ok()) return done;
    over(rows, product.effort(), [&](long i) {
      float* const row = P + i * s.T;
      const long last = begin + i, from = s.window > 0 ? std::max(0L, last - s.window + 1) : 0;
      ops::softmax({row + from, row + from, 1, last + 1 - from, s.scale, s.soft_cap}, product.effort().level);
      std::fill(row, row + from, 0.0f);
      std::fill(row + last + 1, row + end, 0.0f);
    });
    const View values{v + kv * D, D, end, s.G * D, true};
    if (Result done = product.multiply(P, rows, s.T, values, out + at, s.H * D); !done.ok()) return done;
  }
  return {};
}

}  // namespace outrider::quantize
