// The first step of LayerPass: query, key and value, normalised, rotated and appended to the pages of their sequences.
#include <algorithm>
#include <cmath>

#include "model/layer_pass.h"
#include "ops/kv_write/kv_write.h"
#include "ops/rope/rope.h"

namespace outrider {

bool LayerPass::qkv(int index, long l) {
  const LayerWeights& layer = weights_.layers[static_cast<std::size_t>(l)];
  const Prepared in = prepare(index, l, x_, spec_.hidden, &layer.attention_norm, {&layer.q, &layer.k, &layer.v});
  if (!in.go_on) return false;
  // A head whose rows fill whole panels is finished by the thread that multiplied it.
  if (spec_.head_dim % kPanelRows == 0 && spec_.qk_norm != QkNorm::kFull) {
    qkv_by_heads(index, l, in);
  } else if (!qkv_by_rows(index, l, in)) {
    return false;
  }
  return sync(index);
}

// A thread's run of the heads of query, key and value side by side. Those of key and value are also appended to pages,
// which come from memory: what that takes, and a product, is counted in bytes of weights that are read meanwhile.
Share LayerPass::heads_of(const LayerWeights& layer, int index) const {
  constexpr double kBytesOfProduct = 0.2, kBytesOfLine = 200, kBytesOfValue = 16;
  const long D = spec_.head_dim, H = spec_.heads, G = spec_.kv_heads, panels = D / kPanelRows;
  const auto rows = static_cast<double>(n_), dims = static_cast<double>(D);
  const auto product = [&](const Matrix& matrix) {
    const PackedLayout& layout = matrix.packed.layout;
    return static_cast<double>(layout.panel_stride) * static_cast<double>(panels) +
           kBytesOfProduct * rows * dims * static_cast<double>(layout.cols);
  };
  const double append = dims * (kBytesOfLine + kBytesOfValue * rows);
  const struct {
    long heads;
    double cost;
  } parts[] = {{H, product(layer.q)}, {G, product(layer.k) + append}, {G, product(layer.v) + append}};
  double all = 0;
  for (const auto& part : parts) all += static_cast<double>(part.heads) * part.cost;
  const auto bound = [&](int thread) {
    double left = all * thread / threads_;
    long heads = 0;
    for (const auto& part : parts) {
      const long fit = std::clamp(std::lround(left / part.cost), 0L, part.heads);
      heads += fit;
      if (fit < part.heads) break;
      left -= static_cast<double>(fit) * part.cost;
    }
    return heads;
  };
  return {index == 0 ? 0 : bound(index), index + 1 == threads_ ? H + 2 * G : bound(index + 1)};
}

void LayerPass::qkv_by_heads(int index, long l, const Prepared& in) {
  const Timed timed(Phase::kQkv, l, index);
  const LayerWeights& layer = weights_.layers[static_cast<std::size_t>(l)];
  const long D = spec_.head_dim, H = spec_.heads, G = spec_.kv_heads, panels = D / kPanelRows;
  const Share mine = heads_of(layer, index);
  // The part of [first, first + heads) that is mine, as heads of that matrix.
  const auto part_of = [&mine](long first, long heads) {
    const long begin = std::max(mine.begin, first) - first, end = std::min(mine.end, first + heads) - first;
    return begin < end ? Share{begin, end} : Share{0, 0};
  };
  const auto project = [&](const Matrix& matrix, const std::vector<float>& bias, int which, float* out, Share heads) {
    multiply(matrix, bias, in.inputs[in.of[which]], out, {heads.begin * panels, heads.end * panels});
  };
  const auto finish = [&](float* x, const std::vector<float>& norm, long heads_of_row, Share heads) {
    if (heads.begin == heads.end) return;
    const long stride = heads_of_row * D, count = heads.end - heads.begin;
    if (spec_.qk_norm == QkNorm::kHead) {
      for (long i = 0; i < n_; ++i) {
        float* const row = x + i * stride + heads.begin * D;
        norm_rows(row, norm, row, count, D);
      }
    }
    rotate(l, x + heads.begin * D, count, stride, 0, n_);
  };
  const Share q = part_of(0, H), k = part_of(H, G), v = part_of(H + G, G);
  project(layer.q, layer.q_bias, 0, q_, q);
  finish(q_, layer.q_norm, H, q);
  project(layer.k, layer.k_bias, 1, k_, k);
  finish(k_, layer.k_norm, G, k);
  for (long g = k.begin; g < k.end; ++g) append(l, k_, nullptr, g, 0, n_);
  project(layer.v, layer.v_bias, 2, v_, v);
  for (long g = v.begin; g < v.end; ++g) append(l, nullptr, v_, g, 0, n_);
}

bool LayerPass::qkv_by_rows(int index, long l, const Prepared& in) {
  const LayerWeights& layer = weights_.layers[static_cast<std::size_t>(l)];
  const long D = spec_.head_dim, H = spec_.heads, G = spec_.kv_heads;
  {
    const Timed timed(Phase::kQkv, l, index);
    multiply(layer.q, layer.q_bias, in.inputs[in.of[0]], q_, share(layer.q.packed.layout.panels, index));
    multiply(layer.k, layer.k_bias, in.inputs[in.of[1]], k_, share(layer.k.packed.layout.panels, index));
    multiply(layer.v, layer.v_bias, in.inputs[in.of[2]], v_, share(layer.v.packed.layout.panels, index));
  }
  if (!sync(index)) return false;
  const Timed timed(Phase::kQkv, l, index);
  const Share rows = share(n_, index);
  const long count = rows.end - rows.begin;
  if (count == 0) return true;
  float *const q = q_ + rows.begin * H * D, *const k = k_ + rows.begin * G * D;
  if (spec_.qk_norm == QkNorm::kFull) {
    norm_rows(q, layer.q_norm, q, count, H * D);
    norm_rows(k, layer.k_norm, k, count, G * D);
  } else if (spec_.qk_norm == QkNorm::kHead) {
    norm_rows(q, layer.q_norm, q, count * H, D);
    norm_rows(k, layer.k_norm, k, count * G, D);
  }
  rotate(l, q_, H, H * D, rows.begin, rows.end);
  rotate(l, k_, G, G * D, rows.begin, rows.end);
  for (long g = 0; g < G; ++g) append(l, k_, v_, g, rows.begin, rows.end);
  return true;
}

// `heads` heads of rows [begin, end), `stride` apart.
void LayerPass::rotate(long l, float* x, long heads, long stride, long begin, long end) const {
  const int which = spec_.layers[static_cast<std::size_t>(l)].rope;
  if (which < 0) return;
  const RopeSpec& rope = spec_.ropes[static_cast<std::size_t>(which)];
  const long D = spec_.head_dim, half = static_cast<long>(rope.inv_freq.size());
  const long at = which * n_ * D / 2 + begin * half;
  ops::rope({x + begin * stride, end - begin, heads, D, stride, cos_ + at, sin_ + at, half, rope.interleaved},
            batch_.level);
}

// Key, value or both of one KV head of rows [begin, end), into pages.
void LayerPass::append(long l, const float* key, const float* value, long g, long begin, long end) const {
  const long D = spec_.head_dim, G = spec_.kv_heads;
  for (long i = begin; i < end; ++i) {
    const auto row = static_cast<std::size_t>(chunk_.first + i);
    Sequence& sequence = *batch_.sequences[static_cast<std::size_t>(batch_.sequence[row])];
    const long token = batch_.scratch ? rows_.slot[i] : rows_.position[i];
    std::byte* const page = batch_.scratch ? sequence.scratch_page(l, g, token) : sequence.page(l, g, token);
    const long at = (i * G + g) * D;
    ops::kv_write({page, sequence.shape().type, D, token % kPageTokens, key == nullptr ? nullptr : key + at,
                   value == nullptr ? nullptr : value + at},
                  batch_.level);
  }
}

}  // namespace outrider
