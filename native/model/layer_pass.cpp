#include "model/layer_pass.h"

#include <algorithm>

#include "ops/activation/activation.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "ops/rope/rope.h"

namespace outrider {
namespace {

constexpr long kSharedRows = 8;  // from here on rows are split over threads

// Panels that rows take at a time while an epilogue follows: their outputs stay in cache, and few rows, bound by
// memory, have long streams.
constexpr long block_panels(long rows) { return std::max(8L, 1024 / rows); }

}  // namespace

LayerPass::LayerPass(const Weights& weights, const Batch& batch, const Chunk& chunk, const Rows& rows)
    : weights_(weights),
      spec_(weights.spec),
      batch_(batch),
      chunk_(chunk),
      rows_(rows),
      n_(chunk.n),
      threads_(reserve_threads(batch.threads)),
      shared_(chunk.n >= kSharedRows),
      barrier_(threads_),
      next_(static_cast<std::size_t>(batch.layer_end)) {
  list_items();
}

std::size_t LayerPass::prepared_bytes(Matrices matrices) const {
  std::size_t bytes = 0;
  for (const Matrix* matrix : matrices) {
    const PackedLayout& layout = matrix->packed.layout;
    bytes += ops::GemmInput::bytes(layout, n_, rounding(layout));
  }
  return bytes;
}

Result LayerPass::allocate(Workspace& workspace) {
  const long hidden = spec_.hidden, D = spec_.head_dim, H = spec_.heads, G = spec_.kv_heads;
  const auto floats = [&workspace](int slot, long count) {
    return reinterpret_cast<float*>(workspace.slot(slot, static_cast<std::size_t>(count) * sizeof(float)));
  };
  const int copies = shared_ ? 1 : threads_;
  normed_stride_ = (hidden + 15) / 16 * 16 * n_;
  x_ = chunk_.x;
  normed_ = floats(kSlotNormed, normed_stride_ * copies);
  q_ = floats(kSlotQ, n_ * H * D);
  k_ = floats(kSlotK, n_ * G * D);
  v_ = floats(kSlotV, n_ * G * D);
  attended_ = floats(kSlotAttention, n_ * H * D);
  branch_ = floats(kSlotBranch, n_ * hidden);
  gate_ = floats(kSlotGate, n_ * spec_.ffn);
  up_ = floats(kSlotUp, n_ * spec_.ffn);
  const auto tables = static_cast<long>(spec_.ropes.size() + 1);
  cos_ = floats(kSlotCos, n_ * D / 2 * tables);
  sin_ = floats(kSlotSin, n_ * D / 2 * tables);
  for (std::size_t r = 0; r < spec_.ropes.size(); ++r) {
    const RopeSpec& rope = spec_.ropes[r];
    if (cos_ == nullptr || sin_ == nullptr) break;
    const long at = static_cast<long>(r) * n_ * D / 2;
    ops::rope_table(rows_.position, n_, rope.inv_freq.data(), static_cast<long>(rope.inv_freq.size()), rope.magnitude,
                    cos_ + at, sin_ + at);
  }
  work_bytes_ = ops::attention_work_bytes(std::min(n_, kAttentionRows), H, G, D, batch_.scratch);
  work_ = workspace.slot(kSlotAttentionWork, work_bytes_ * static_cast<std::size_t>(threads_));

  long parts = 0;
  std::size_t ahead_bytes = 0;
  plan_of_.resize(static_cast<std::size_t>(batch_.layer_end));
  for (long l = batch_.layer_begin; l < batch_.layer_end; ++l) {
    const LayerWeights& layer = weights_.layers[static_cast<std::size_t>(l)];
    prepared_stride_ =
        std::max({prepared_stride_, prepared_bytes({&layer.q, &layer.k, &layer.v}), prepared_bytes({&layer.o}),
                  prepared_bytes({&layer.gate, &layer.up}), prepared_bytes({&layer.down})});
    ahead_bytes = std::max({ahead_bytes, prepared_bytes({&layer.o}), prepared_bytes({&layer.down})});
    const long window = spec_.layers[static_cast<std::size_t>(l)].window;
    std::size_t plan = 0;
    while (plan < plans_.size() && plans_[plan].window != window) ++plan;
    if (plan == plans_.size()) plan_attention(window);
    plan_of_[static_cast<std::size_t>(l)] = plan;
    parts = std::max(parts, plans_[plan].floats);
  }
  prepared_ = workspace.slot(kSlotPrepared, prepared_stride_ * static_cast<std::size_t>(copies));
  ahead_ = workspace.slot(kSlotAhead, ahead_bytes);
  parts_ = floats(kSlotParts, parts);

  // Pages do not move while a chunk is evaluated.
  pages_.resize(static_cast<std::size_t>(batch_.layer_end) * chunk_.runs.size());
  scratch_.resize(pages_.size());
  for (long l = batch_.layer_begin; l < batch_.layer_end; ++l) {
    for (std::size_t r = 0; r < chunk_.runs.size(); ++r) {
      const std::size_t at = static_cast<std::size_t>(l) * chunk_.runs.size() + r;
      batch_.sequences[static_cast<std::size_t>(chunk_.runs[r].sequence)]->layer_pages(l, &pages_[at], &scratch_[at]);
    }
  }
  const void* const all[] = {x_,  normed_, q_,   k_,    v_,        attended_, branch_, gate_,
                             up_, cos_,    sin_, work_, prepared_, ahead_,    parts_};
  for (const void* memory : all) {
    if (memory == nullptr) return out_of_memory();
  }
  return {};
}

bool LayerPass::run(const std::atomic<bool>& abort) {
  abort_ = &abort;
  syncs_.assign(static_cast<std::size_t>(threads_) * 16, 0);
  parallel(threads_, [&](int index, int) { thread(index); });
  // Somebody may have left work out behind the last barrier but one.
  return !stop_[0] && !stop_[1] && !aborted();
}

void LayerPass::thread(int index) {
  for (long l = batch_.layer_begin; l < batch_.layer_end; ++l) {
    const auto at = static_cast<std::size_t>(l);
    const LayerWeights& layer = weights_.layers[at];
    const bool attends = batch_.skip_attention.empty() || batch_.skip_attention[at] == 0,
               feeds = batch_.skip_mlp.empty() || batch_.skip_mlp[at] == 0;
    if (attends && !(qkv(index, l) && attend(index, l) &&
                     add_branch(index, Phase::kOutput, l, attended_, spec_.heads * spec_.head_dim, layer.o,
                                layer.o_bias, layer.attention_post_norm, attended_ahead(layer)))) {
      return;
    }
    if (feeds && !(gate_up(index, l) && add_branch(index, Phase::kDown, l, gate_, spec_.ffn, layer.down,
                                                   layer.down_bias, layer.mlp_post_norm, gated_ahead(layer)))) {
      return;
    }
  }
}

bool LayerPass::sync(int index) {
  const Timed timed(Phase::kWait, -1, index);
  unsigned& count = syncs_[static_cast<std::size_t>(index) * 16];  // a cache line each
  bool& stop = stop_[count++ % 2];
  if (index == 0) stop = aborted();
  barrier_.wait();
  return !stop;
}

void LayerPass::norm_rows(const float* x, const std::vector<float>& weight, float* out, long rows, long K) const {
  ops::rmsnorm({x, weight.data(), out, rows, K, K, K, spec_.norm_eps}, batch_.level);
}

LayerPass::Prepared LayerPass::prepare(int index, long layer, const float* in, long K, const std::vector<float>* norm,
                                       Matrices matrices) {
  Prepared out;
  const PackedLayout* layouts[3];
  int count = 0, made = 0;
  std::byte* block = prepared_ + (shared_ ? 0 : prepared_stride_ * static_cast<std::size_t>(index));
  for (const Matrix* matrix : matrices) {
    const PackedLayout& layout = matrix->packed.layout;
    int found = 0;
    while (found < made && !ops::GemmInput::compatible(layout, *layouts[found])) ++found;
    out.of[count++] = found;
    if (found < made) continue;
    const auto mode = rounding(layout);
    out.inputs[made] = ops::GemmInput::place(layout, n_, mode, block);
    block += ops::GemmInput::bytes(layout, n_, mode);
    layouts[made++] = &layout;
  }
  const bool normalise = norm != nullptr && !norm->empty();
  float* const normed = normed_ + (shared_ ? 0 : normed_stride_ * index);
  {
    const Timed timed(Phase::kPrepare, layer, index);
    const Share rows = shared_ ? share(n_, index) : Share{0, n_};
    if (rows.begin < rows.end) {
      if (normalise) norm_rows(in + rows.begin * K, *norm, normed + rows.begin * K, rows.end - rows.begin, K);
      for (int i = 0; i < made; ++i) {
        ops::gemm_prepare({normalise ? normed : in, DType::kF32, K, layouts[i], &out.inputs[i], rows.begin, rows.end},
                          batch_.level);
      }
    }
  }
  out.go_on = !shared_ || sync(index);
  return out;
}

// Whether whoever attends for a head also rounds what comes of it: heads are whole groups.
bool LayerPass::attended_ahead(const LayerWeights& layer) const {
  const PackedLayout& layout = layer.o.packed.layout;
  return is_affine(layout.format) && spec_.head_dim % layout.group == 0;
}

// The same of the activation function: shares of whole groups are about as large as others.
bool LayerPass::gated_ahead(const LayerWeights& layer) const {
  const PackedLayout& layout = layer.down.packed.layout;
  return is_affine(layout.format) && layout.group % kPanelRows == 0 &&
         (layout.groups % threads_ == 0 || layout.groups >= 8L * threads_);
}

// Input of a matrix that is prepared where it is made; of one at a time.
ops::GemmInput LayerPass::ahead(const Matrix& matrix) const {
  const PackedLayout& layout = matrix.packed.layout;
  return ops::GemmInput::place(layout, n_, rounding(layout), ahead_);
}

void LayerPass::multiply(const Matrix& matrix, const std::vector<float>& bias, const ops::GemmInput& input, float* out,
                         Share panels) const {
  if (panels.begin == panels.end) return;
  ops::gemm({&matrix.packed, &input, bias.empty() ? nullptr : bias.data(), out, matrix.packed.layout.rows, panels.begin,
             panels.end},
            batch_.level);
}

bool LayerPass::add_branch(int index, Phase phase, long l, const float* in, long K, const Matrix& matrix,
                           const std::vector<float>& bias, const std::vector<float>& post_norm, bool ready) {
  const Prepared prepared = ready ? Prepared{{ahead(matrix)}, {0}, true} : prepare(index, l, in, K, nullptr, {&matrix});
  if (!prepared.go_on) return false;
  const long hidden = spec_.hidden;
  const float scale = spec_.residual_scale;
  // Rows [row, row_end), columns [begin, end).
  const auto add = [&](long row, long row_end, long begin, long end) {
    for (long i = row; i < row_end; ++i) {
      float* const x = x_ + i * hidden;
      const float* const branch = branch_ + i * hidden;
      if (scale == 1.0f) {
        for (long c = begin; c < end; ++c) x[c] += branch[c];
      } else {
        for (long c = begin; c < end; ++c) x[c] += branch[c] * scale;
      }
    }
  };
  {
    const Timed timed(phase, l, index);
    const Share panels = share(matrix.packed.layout.panels, index);
    const long step = block_panels(n_);
    for (long p = panels.begin; p < panels.end && !aborted(); p += step) {
      const long end = std::min(p + step, panels.end);
      multiply(matrix, bias, prepared.inputs[0], branch_, {p, end});
      if (post_norm.empty()) add(0, n_, p * kPanelRows, std::min(end * kPanelRows, hidden));
    }
  }
  if (!post_norm.empty()) {
    if (!sync(index)) return false;
    const Timed timed(phase, l, index);
    const Share rows = share(n_, index);
    if (rows.begin < rows.end) {
      float* const branch = branch_ + rows.begin * hidden;
      norm_rows(branch, post_norm, branch, rows.end - rows.begin, hidden);
      add(rows.begin, rows.end, 0, hidden);
    }
  }
  return sync(index);
}

bool LayerPass::gate_up(int index, long l) {
  const LayerWeights& layer = weights_.layers[static_cast<std::size_t>(l)];
  const Prepared in = prepare(index, l, x_, spec_.hidden, &layer.mlp_norm, {&layer.gate, &layer.up});
  if (!in.go_on) return false;
  {
    const Timed timed(Phase::kGateUp, l, index);
    const bool prepares = gated_ahead(layer);
    const PackedLayout& next = layer.down.packed.layout;
    ops::GemmInput input = ahead(layer.down);
    const long unit = prepares ? next.group / kPanelRows : 1, step = (block_panels(n_) + unit - 1) / unit * unit;
    const Share panels = share_of(layer.gate.packed.layout.panels, index, threads_, unit);
    for (long p = panels.begin; p < panels.end && !aborted(); p += step) {
      const Share block{p, std::min(p + step, panels.end)};
      multiply(layer.gate, layer.gate_bias, in.inputs[in.of[0]], gate_, block);
      multiply(layer.up, layer.up_bias, in.inputs[in.of[1]], up_, block);
      const long begin = p * kPanelRows, end = std::min(block.end * kPanelRows, spec_.ffn);
      for (long i = 0; i < n_; ++i) {
        float* const row = gate_ + i * spec_.ffn + begin;
        ops::activation({spec_.activation, row, up_ + i * spec_.ffn + begin, row, end - begin}, batch_.level);
      }
      if (prepares) {
        ops::gemm_prepare_groups({gate_, DType::kF32, spec_.ffn, &next, &input, 0, n_}, begin / next.group,
                                 (end + next.group - 1) / next.group, batch_.level);
      }
    }
  }
  return sync(index);
}

}  // namespace outrider
