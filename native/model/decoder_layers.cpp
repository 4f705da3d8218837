// Forward::layers: embedding, then all layers for one chunk of rows.
#include <cstring>

#include "base/profile.h"
#include "model/layer_pass.h"
#include "ops/embedding/embedding.h"

namespace outrider {

Result Forward::layers(Chunk& chunk, Workspace& workspace, const std::atomic<bool>& abort) {
  const DecoderSpec& spec = weights_->spec;
  const long n = chunk.n, hidden = spec.hidden;
  chunk.x = reinterpret_cast<float*>(workspace.slot(kSlotX, static_cast<std::size_t>(n * hidden) * sizeof(float)));
  if (chunk.x == nullptr) return out_of_memory();
  const PackedMatrix& table = weights_->embedding.packed;
  if (!batch_.mix.empty()) {
    const Timed timed(Phase::kEmbedding, -1, 0);
    const long J = static_cast<long>(batch_.mix.size()) / batch_.rows();
    // What is normed comes later.
    auto* const scratch =
        reinterpret_cast<float*>(workspace.slot(kSlotNormed, static_cast<std::size_t>(hidden) * sizeof(float)));
    if (scratch == nullptr) return out_of_memory();
    ops::embedding({&table, batch_.mix.data() + chunk.first * J, n, spec.embedding_scale, chunk.x, hidden,
                    batch_.mix_weights.data() + chunk.first * J, J, scratch},
                   batch_.level);
  } else if (batch_.embeddings.empty()) {
    const Timed timed(Phase::kEmbedding, -1, 0);
    ops::embedding({&table, batch_.token.data() + chunk.first, n, spec.embedding_scale, chunk.x, hidden}, batch_.level);
  } else {
    std::memcpy(chunk.x, batch_.embeddings.data() + chunk.first * hidden,
                static_cast<std::size_t>(n * hidden) * sizeof(float));
  }

  // Paths of tree rows: scratch slots from the root down.
  LayerPass::Rows rows{position_.data() + chunk.first, slot_.data() + chunk.first, nullptr, 0, &start_length_};
  if (batch_.scratch) {
    const auto depth_of = [&](std::size_t row) {
      return position_[row] - start_length_[static_cast<std::size_t>(batch_.sequence[row])];
    };
    for (long i = 0; i < n; ++i) {
      rows.path_stride = std::max(rows.path_stride, depth_of(static_cast<std::size_t>(chunk.first + i)) + 1);
    }
    auto* const paths = reinterpret_cast<std::int32_t*>(
        workspace.slot(kSlotPaths, static_cast<std::size_t>(n * rows.path_stride) * sizeof(std::int32_t)));
    if (paths == nullptr) return out_of_memory();
    for (long i = 0; i < n; ++i) {
      const auto row = static_cast<std::size_t>(chunk.first + i);
      const std::vector<std::int32_t>& parents = trees_[static_cast<std::size_t>(batch_.sequence[row])].parents;
      long depth = depth_of(row);
      for (std::int32_t at = slot_[row]; at >= 0; at = parents[static_cast<std::size_t>(at)]) {
        paths[i * rows.path_stride + depth--] = at;
      }
    }
    rows.path = paths;
  }

  LayerPass pass(*weights_, batch_, chunk, rows);
  if (Result allocated = pass.allocate(workspace); !allocated.ok()) return allocated;
  const Stopwatch stopwatch(&output_.kernel_seconds);
  if (!pass.run(abort)) return Result::error(Status::kAborted, "aborted");
  return {};
}

}  // namespace outrider
