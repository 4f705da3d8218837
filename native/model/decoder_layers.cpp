// Forward::layers: embedding, attention and MLP of each layer for one chunk of rows.
#include <cstring>

#include "model/decoder_chunk.h"
#include "ops/activation/activation.h"
#include "ops/attention/attention.h"
#include "ops/embedding/embedding.h"
#include "ops/gemm/gemm.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "ops/rope/rope.h"

namespace outrider {
namespace {

constexpr long kAttentionRows = 16;  // rows of one attention work item

// One matrix of a group that shares its input.
struct Projection {
  const Matrix* matrix;
  const std::vector<float>* bias;
  float* out;  // [n, rows of the matrix]
};

// All that the steps of a layer share.
struct Context {
  const DecoderSpec& spec;
  Workspace& workspace;
  Level level;
  int threads;
  bool rounded;
  long n;
};

void norm_rows(const Context& c, const float* x, const std::vector<float>& weight, float* out, long K, long begin,
               long end) {
  ops::rmsnorm({x + begin * K, weight.data(), out + begin * K, end - begin, K, K, K, c.spec.norm_eps}, c.level);
}

// out_i = in * W_i^T + b_i, the input normalised first if `norm` is not empty. `after(begin, end)` runs on the thread
// that has just finished output columns [begin, end) of every projection.
template <typename After>
Result project(const Context& c, const float* in, long K, const std::vector<float>* norm, float* normed,
               const Projection* list, int count, After&& after) {
  ops::GemmInput inputs[3];
  const PackedLayout* layouts[3];
  int input_of[3], made = 0;
  for (int i = 0; i < count; ++i) {
    const PackedLayout& layout = list[i].matrix->packed.layout;
    int found = 0;
    while (found < made && !ops::GemmInput::compatible(layout, *layouts[found])) ++found;
    input_of[i] = found;
    if (found < made) continue;
    const auto mode = c.rounded ? ops::rounding_of(layout.format) : ops::Rounding::kNone;
    std::byte* block = c.workspace.slot(kSlotPrepared + made, ops::GemmInput::bytes(layout, c.n, mode));
    if (block == nullptr) return out_of_memory();
    inputs[made] = ops::GemmInput::place(layout, c.n, mode, block);
    layouts[made++] = &layout;
  }
  const bool normalise = norm != nullptr && !norm->empty();
  for_rows(c.n, c.threads, [&](long begin, long end) {
    if (normalise) norm_rows(c, in, *norm, normed, K, begin, end);
    for (int i = 0; i < made; ++i) {
      ops::gemm_prepare({normalise ? normed : in, DType::kF32, K, layouts[i], &inputs[i], begin, end}, c.level);
    }
  });
  parallel(c.threads, [&](int index, int threads) {
    for (int i = 0; i < count; ++i) {
      const PackedLayout& layout = list[i].matrix->packed.layout;
      const Share share = share_of(layout.panels, index, threads);
      const float* bias = list[i].bias->empty() ? nullptr : list[i].bias->data();
      ops::gemm({&list[i].matrix->packed, &inputs[input_of[i]], bias, list[i].out, layout.rows, share.begin, share.end},
                c.level);
    }
    const PackedLayout& first = list[0].matrix->packed.layout;
    const Share share = share_of(first.panels, index, threads);
    after(share.begin * kPanelRows, std::min(share.end * kPanelRows, first.rows));
  });
  return {};
}

constexpr auto kNothing = [](long, long) {};

// x += scale * norm(branch)
void add_branch(const Context& c, float* x, float* branch, const std::vector<float>& post_norm) {
  const long K = c.spec.hidden;
  for_rows(c.n, c.threads, [&](long begin, long end) {
    if (!post_norm.empty()) norm_rows(c, branch, post_norm, branch, K, begin, end);
    const float scale = c.spec.residual_scale;
    if (scale == 1.0f) {
      for (long i = begin * K; i < end * K; ++i) x[i] += branch[i];
    } else {
      for (long i = begin * K; i < end * K; ++i) x[i] += branch[i] * scale;
    }
  });
}

}  // namespace

Result Forward::layers(Chunk& chunk, Workspace& workspace, const std::atomic<bool>& abort) {
  const DecoderSpec& spec = weights_->spec;
  const long n = chunk.n, hidden = spec.hidden, D = spec.head_dim, H = spec.heads, G = spec.kv_heads;
  const Context c{spec, workspace, batch_.level, batch_.threads, batch_.rounded, n};
  const auto floats = [&workspace](int slot, long count) {
    return reinterpret_cast<float*>(workspace.slot(slot, static_cast<std::size_t>(count) * sizeof(float)));
  };
  float* x = chunk.x = floats(kSlotX, n * hidden);
  float* normed = floats(kSlotNormed, n * std::max(hidden, spec.ffn));
  float* q = floats(kSlotQ, n * H * D);
  float* k = floats(kSlotK, n * G * D);
  float* v = floats(kSlotV, n * G * D);
  float* attended = floats(kSlotAttention, n * H * D);
  float* branch = floats(kSlotBranch, n * hidden);
  float* gate = floats(kSlotGate, n * spec.ffn);
  float* up = floats(kSlotUp, n * spec.ffn);
  float* cos = floats(kSlotCos, n * D / 2 * static_cast<long>(spec.ropes.size() + 1));
  float* sin = floats(kSlotSin, n * D / 2 * static_cast<long>(spec.ropes.size() + 1));
  const std::size_t work_bytes = ops::attention_work_bytes(H, G, D);
  std::byte* work = workspace.slot(kSlotAttentionWork, work_bytes * static_cast<std::size_t>(c.threads));
  if (x == nullptr || normed == nullptr || q == nullptr || k == nullptr || v == nullptr || attended == nullptr ||
      branch == nullptr || gate == nullptr || up == nullptr || cos == nullptr || sin == nullptr || work == nullptr) {
    return out_of_memory();
  }

  const std::int32_t* position = position_.data() + chunk.first;
  const std::int32_t* slot = slot_.data() + chunk.first;
  if (batch_.embeddings.empty()) {
    ops::embedding({&weights_->embedding.packed, batch_.token.data() + chunk.first, n, spec.embedding_scale, x, hidden},
                   c.level);
  } else {
    std::memcpy(x, batch_.embeddings.data() + chunk.first * hidden,
                static_cast<std::size_t>(n * hidden) * sizeof(float));
  }
  for (std::size_t r = 0; r < spec.ropes.size(); ++r) {
    const RopeSpec& rope = spec.ropes[r];
    const auto half = static_cast<long>(rope.inv_freq.size());
    ops::rope_table(position, n, rope.inv_freq.data(), half, rope.magnitude, cos + static_cast<long>(r) * n * D / 2,
                    sin + static_cast<long>(r) * n * D / 2);
  }

  // Paths of tree rows: scratch slots from the root down.
  const long path_stride = batch_.scratch ? ops::kMaxTreeRows : 0;
  std::int32_t* paths = nullptr;
  if (batch_.scratch) {
    paths = reinterpret_cast<std::int32_t*>(
        workspace.slot(kSlotPaths, static_cast<std::size_t>(n * path_stride) * sizeof(std::int32_t)));
    if (paths == nullptr) return out_of_memory();
    for (long i = 0; i < n; ++i) {
      const auto row = static_cast<std::size_t>(chunk.first + i);
      long depth = position_[row] - start_length_[static_cast<std::size_t>(batch_.sequence[row])];
      for (auto at = static_cast<std::int32_t>(row); at >= 0; at = batch_.parent[static_cast<std::size_t>(at)]) {
        paths[i * path_stride + depth--] = slot_[static_cast<std::size_t>(at)];
      }
    }
  }

  std::vector<std::vector<const std::byte*>> pages(chunk.runs.size()), scratch(chunk.runs.size());
  struct Item {
    std::size_t run;
    long begin, end, head;
  };
  std::vector<Item> items;
  for (std::size_t r = 0; r < chunk.runs.size(); ++r) {
    for (long begin = chunk.runs[r].begin; begin < chunk.runs[r].end; begin += kAttentionRows) {
      for (long g = 0; g < G; ++g) items.push_back({r, begin, std::min(begin + kAttentionRows, chunk.runs[r].end), g});
    }
  }

  for (long l = batch_.layer_begin; l < batch_.layer_end; ++l) {
    if (abort.load(std::memory_order_relaxed)) return Result::error(Status::kAborted, "aborted");
    const auto index = static_cast<std::size_t>(l);
    const LayerWeights& layer = weights_->layers[index];
    const LayerSpec& at = spec.layers[index];
    if (batch_.skip_attention.empty() || batch_.skip_attention[index] == 0) {
      const Projection qkv[] = {
          {&layer.q, &layer.q_bias, q}, {&layer.k, &layer.k_bias, k}, {&layer.v, &layer.v_bias, v}};
      if (Result r = project(c, x, hidden, &layer.attention_norm, normed, qkv, 3, kNothing); !r.ok()) return r;

      for_rows(n, c.threads, [&](long begin, long end) {
        if (spec.qk_norm == QkNorm::kFull) {
          norm_rows(c, q, layer.q_norm, q, H * D, begin, end);
          norm_rows(c, k, layer.k_norm, k, G * D, begin, end);
        } else if (spec.qk_norm == QkNorm::kHead) {
          norm_rows(c, q, layer.q_norm, q, D, begin * H, end * H);
          norm_rows(c, k, layer.k_norm, k, D, begin * G, end * G);
        }
        if (at.rope >= 0) {
          const RopeSpec& rope = spec.ropes[static_cast<std::size_t>(at.rope)];
          const auto half = static_cast<long>(rope.inv_freq.size());
          const float* cos_rows = cos + at.rope * n * D / 2 + begin * half;
          const float* sin_rows = sin + at.rope * n * D / 2 + begin * half;
          ops::rope({q + begin * H * D, end - begin, H, D, H * D, cos_rows, sin_rows, half, rope.interleaved}, c.level);
          ops::rope({k + begin * G * D, end - begin, G, D, G * D, cos_rows, sin_rows, half, rope.interleaved}, c.level);
        }
        for (long i = begin; i < end; ++i) {
          Sequence& sequence =
              *batch_.sequences[static_cast<std::size_t>(batch_.sequence[static_cast<std::size_t>(chunk.first + i)])];
          for (long g = 0; g < G; ++g) {
            const float* key = k + (i * G + g) * D;
            const float* value = v + (i * G + g) * D;
            if (batch_.scratch) {
              kv_page_write(sequence.scratch_page(l, g, slot[i]), sequence.shape().type, D, slot[i] % kPageTokens, key,
                            value);
            } else {
              kv_page_write(sequence.page(l, g, position[i]), sequence.shape().type, D, position[i] % kPageTokens, key,
                            value);
            }
          }
        }
      });

      for (std::size_t r = 0; r < chunk.runs.size(); ++r) {
        batch_.sequences[static_cast<std::size_t>(chunk.runs[r].sequence)]->layer_pages(l, &pages[r], &scratch[r]);
      }
      std::atomic<std::size_t> next{0};
      const int helpers = static_cast<int>(std::min<std::size_t>(items.size(), static_cast<std::size_t>(c.threads)));
      parallel(helpers, [&](int thread, int) {
        for (std::size_t i = next.fetch_add(1); i < items.size(); i = next.fetch_add(1)) {
          const Item& item = items[i];
          const Run& run = chunk.runs[item.run];
          const auto s = static_cast<std::size_t>(run.sequence);
          ops::AttentionArgs args{};
          args.q = q;
          args.out = attended;
          args.q_stride = args.out_stride = H * D;
          args.H = H;
          args.G = G;
          args.D = D;
          args.pages = pages[item.run].data();
          args.scratch = scratch[item.run].data();
          args.head_bytes = batch_.sequences[s]->shape().page_bytes();
          args.kv_type = batch_.sequences[s]->shape().type;
          args.position = position;
          args.prefix = batch_.scratch ? start_length_[s] : spec.context_length;
          args.path = paths;
          args.path_stride = path_stride;
          args.window = at.window;
          args.scale = spec.attention_scale;
          args.soft_cap = spec.attention_soft_cap;
          args.row_begin = item.begin;
          args.row_end = item.end;
          args.g_begin = item.head;
          args.g_end = item.head + 1;
          args.work = work + work_bytes * static_cast<std::size_t>(thread);
          ops::attention(args, c.level);
        }
      });
      const Projection o[] = {{&layer.o, &layer.o_bias, branch}};
      if (Result r = project(c, attended, H * D, nullptr, normed, o, 1, kNothing); !r.ok()) return r;
      add_branch(c, x, branch, layer.attention_post_norm);
    }
    if (batch_.skip_mlp.empty() || batch_.skip_mlp[index] == 0) {
      const Projection both[] = {{&layer.gate, &layer.gate_bias, gate}, {&layer.up, &layer.up_bias, up}};
      const auto activate = [&](long begin, long end) {
        for (long i = 0; i < n; ++i) {
          float* row = gate + i * spec.ffn + begin;
          ops::activation({spec.activation, row, up + i * spec.ffn + begin, row, end - begin}, c.level);
        }
      };
      if (Result r = project(c, x, hidden, &layer.mlp_norm, normed, both, 2, activate); !r.ok()) return r;
      const Projection down[] = {{&layer.down, &layer.down_bias, branch}};
      if (Result r = project(c, gate, spec.ffn, nullptr, normed, down, 1, kNothing); !r.ok()) return r;
      add_branch(c, x, branch, layer.mlp_post_norm);
    }
  }
  return {};
}

}  // namespace outrider
