// All layers for one chunk of rows: every thread runs the same program on its share and they meet at barriers, five a
// layer.
//
//   prepare x | q, k, v of own heads, rotated and appended | attention | output projection + residual |
//   gate, up and activation of own columns | down projection + residual
//
// Few rows are normalised and rounded by every thread for itself, which is cheaper than a barrier; many are split by
// rows. What attention and activation make is rounded by whoever made it, if the shares can be cut at groups.
#pragma once

#include <atomic>
#include <initializer_list>
#include <vector>

#include "base/profile.h"
#include "base/thread_pool.h"
#include "model/decoder.h"
#include "model/decoder_chunk.h"
#include "ops/attention/attention.h"
#include "ops/gemm/gemm.h"

namespace outrider {

class LayerPass {
 public:
  struct Rows {
    const std::int32_t* position;  // [n]
    const std::int32_t* slot;      // [n] scratch rows: slot of each
    const std::int32_t* path;      // trees: [n, path_stride]
    long path_stride;
    const std::vector<long>* start_length;  // per sequence
  };

  LayerPass(const Weights& weights, const Batch& batch, const Chunk& chunk, const Rows& rows);

  // Takes all memory of the pass. Call once, before run().
  Result allocate(Workspace& workspace);
  // False if `abort` was set before the end; polled at every barrier and between pieces of work.
  bool run(const std::atomic<bool>& abort);

 private:
  static constexpr long kAttentionRows = 16;  // at most, of one item
  // Queries of one sequence and one KV head that attend together, as numbered by ops::AttentionArgs.
  struct Item {
    std::size_t run;
    long begin, end, head;
    int thread;  // whose it is; -1: not given away yet
  };
  // How layers with one window share their attention: not at all planned (pieces empty: items are taken from a
  // counter), or each thread's run of segments beforehand.
  struct Piece {
    Item item;
    int thread;
    Share segments;      // of the piece
    long first_segment;  // of the whole item
    long parts;          // where the item's parts start; -1: the piece is the whole item
  };
  struct Plan {
    long window;
    std::vector<Piece> pieces;
    std::vector<Piece> merges;  // items in parts, each once, with the thread that puts them together
    long floats = 0;            // of all parts
  };
  // Activations of a layer's input for up to three matrices.
  struct Prepared {
    ops::GemmInput inputs[3];
    int of[3];
    bool go_on;
  };
  using Matrices = std::initializer_list<const Matrix*>;

  // Steps return false where the pass is to stop.
  void thread(int index);
  // Meets the other threads. False, for all of them alike, if the pass was aborted before.
  [[nodiscard]] bool sync(int index);
  // True as soon as somebody asks: work may then be left out, because the next sync ends the pass.
  [[nodiscard]] bool aborted() const { return abort_->load(std::memory_order_relaxed); }
  [[nodiscard]] Share share(long items, int index) const { return share_of(items, index, threads_); }

  [[nodiscard]] bool shares_queries(const Run& run) const;
  void list_items();
  // How activations are rounded for weights of a layout.
  [[nodiscard]] ops::Rounding rounding(const PackedLayout& layout) const {
    return batch_.rounded ? ops::rounding_of(layout.format) : ops::Rounding::kNone;
  }
  [[nodiscard]] std::size_t prepared_bytes(Matrices matrices) const;
  Prepared prepare(int index, long layer, const float* in, long K, const std::vector<float>* norm, Matrices matrices);
  [[nodiscard]] bool attended_ahead(const LayerWeights& layer) const;
  [[nodiscard]] bool gated_ahead(const LayerWeights& layer) const;
  [[nodiscard]] ops::GemmInput ahead(const Matrix& matrix) const;
  void prepare_attended(const Item& item, long layer) const;
  void norm_rows(const float* x, const std::vector<float>& weight, float* out, long rows, long K) const;
  void multiply(const Matrix& matrix, const std::vector<float>& bias, const ops::GemmInput& input, float* out,
                Share panels) const;

  bool qkv(int index, long layer);
  [[nodiscard]] Share heads_of(const LayerWeights& layer, int index) const;
  void qkv_by_heads(int index, long layer, const Prepared& in);
  bool qkv_by_rows(int index, long layer, const Prepared& in);
  void rotate(long layer, float* x, long heads, long stride, long begin, long end) const;
  void append(long layer, const float* key, const float* value, long head, long begin, long end) const;

  bool attend(int index, long layer);
  [[nodiscard]] ops::AttentionArgs attention_args(const Item& item, long layer, int index) const;
  [[nodiscard]] Share segments_of(const Item& item, long window) const;
  void plan_attention(long window);

  // x += the output of a matrix, through the branch buffer. `ready`: its input is prepared already.
  bool add_branch(int index, Phase phase, long layer, const float* in, long K, const Matrix& matrix,
                  const std::vector<float>& bias, const std::vector<float>& post_norm, bool ready);
  bool gate_up(int index, long layer);

  const Weights& weights_;
  const DecoderSpec& spec_;
  const Batch& batch_;
  const Chunk& chunk_;
  const Rows rows_;
  const long n_;
  const int threads_;
  const bool shared_;  // rows are prepared once and by all
  Barrier barrier_;

  float *x_ = nullptr, *normed_ = nullptr, *q_ = nullptr, *k_ = nullptr, *v_ = nullptr, *attended_ = nullptr,
        *branch_ = nullptr, *gate_ = nullptr, *up_ = nullptr, *cos_ = nullptr, *sin_ = nullptr, *parts_ = nullptr;
  std::byte *prepared_ = nullptr, *ahead_ = nullptr, *work_ = nullptr;
  std::size_t prepared_stride_ = 0, work_bytes_ = 0;
  long normed_stride_ = 0;
  std::vector<Item> items_;
  std::vector<Plan> plans_;                                     // one for each window that occurs
  std::vector<std::size_t> plan_of_;                            // per layer
  std::vector<std::vector<const std::byte*>> pages_, scratch_;  // per layer and run
  std::vector<std::atomic<long>> next_;                         // per layer: the next item to attend
  const std::atomic<bool>* abort_ = nullptr;
  // What thread 0 saw of the abort before an even and before an odd barrier: two, so that nobody overwrites what
  // somebody has yet to read.
  bool stop_[2] = {false, false};
  std::vector<unsigned> syncs_;  // per thread: barriers passed
};

}  // namespace outrider
