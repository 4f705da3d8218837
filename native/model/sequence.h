// The KV cache of one sequence: pages of 64 tokens for every layer and KV head, shared between forks until written.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/status.h"
#include "formats/kv_page.h"
#include "model/spec.h"

namespace outrider {

// Shape of the cache of one model.
struct KvShape {
  long layers = 0, kv_heads = 0, head_dim = 0;
  DType type = DType::kF16;

  [[nodiscard]] std::size_t page_bytes() const { return kv_page_bytes(head_dim, type); }
  [[nodiscard]] std::size_t block_bytes() const { return static_cast<std::size_t>(layers * kv_heads) * page_bytes(); }
  bool operator==(const KvShape&) const = default;
};

// 64 consecutive tokens of all layers and heads: page (layer, head) at (layer * kv_heads + head) * page_bytes.
struct KvBlock {
  Buffer memory;
};

// Not synchronised: `busy` says that a job of the engine owns it, and everybody else keeps away. Only length() and
// bytes() may be asked meanwhile; they then tell how far the job has come.
class Sequence {
 public:
  // What scratch slots hold: parents as earlier slots or -1, and tokens, or none if the rows were given as embeddings.
  struct Tree {
    std::vector<std::int32_t> parents, tokens;
  };

  explicit Sequence(const KvShape& shape) : shape_(shape) {}

  [[nodiscard]] const KvShape& shape() const { return shape_; }
  [[nodiscard]] long length() const { return length_; }
  // The scratch rows that commit() may still take and another scratch call go on from.
  [[nodiscard]] const Tree& tree() const { return tree_; }
  // Bytes of the pages this sequence refers to, shared ones included, scratch included.
  [[nodiscard]] std::size_t bytes() const { return held_blocks_ * shape_.block_bytes(); }

  // Makes room for tokens [length, length + count): allocates blocks and copies a shared last one. kMemory leaves the
  // sequence as it was.
  Status reserve(long count);
  // Declares tokens written. Only after reserve().
  // A tree evaluated before stands above a shorter prefix and can no longer be committed.
  void advance(long count) {
    length_ += count;
    tree_ = {};
  }
  // Declares the first `count` of the tokens written that reserve() made room for, and gives the rest of the room back.
  void keep(long count);
  // Drops tokens from `length` on, and scratch.
  void truncate(long length);
  // Makes `rows` scratch slots. Those there are keep what they hold, but it can be neither committed nor gone on from
  // before set_tree().
  Status reserve_scratch(long rows);
  // Declares scratch rows written.
  void set_tree(Tree tree) { tree_ = std::move(tree); }
  // Appends scratch rows (each the child of the one before, the first a root) to the committed tokens and drops the
  // rest. No key is rotated again: a row's position is its depth. Their tokens go to `history` too if it is not null:
  // that of the sequence's sampler. kArgument if the rows are no path.
  Status commit(const std::int32_t* rows, long count, std::vector<std::int32_t>* history);
  // A sequence with the same tokens that shares all pages until one of the two writes.
  [[nodiscard]] std::unique_ptr<Sequence> fork() const;

  // Pages of kv head 0 of one layer, for the attention op.
  void layer_pages(long layer, std::vector<const std::byte*>* pages, std::vector<const std::byte*>* scratch) const;
  // Zeroes what a slot holds in one layer, for rows that leave no key there.
  void clear(long layer, long token);
  void clear_scratch(long layer, long row);
  [[nodiscard]] std::byte* page(long layer, long head, long token);
  [[nodiscard]] std::byte* scratch_page(long layer, long head, long row);

  // Versioned, checksummed image of the committed tokens; `model` is the fingerprint of the weights.
  [[nodiscard]] std::size_t snapshot_bytes() const;
  void save(std::uint64_t model, std::byte* out) const;
  // Replaces the content. Refuses damage and other models, and then leaves the sequence as it was.
  Result restore(std::uint64_t model, const std::byte* data, std::size_t bytes, long max_tokens);

  std::atomic<bool> busy{false};

 private:
  void clear_tail(std::byte* block, long slot) const;
  [[nodiscard]] std::size_t page_offset(long layer, long head) const {
    return static_cast<std::size_t>(layer * shape_.kv_heads + head) * shape_.page_bytes();
  }

  void count_blocks() { held_blocks_ = blocks_.size() + scratch_.size() + (spare_ != nullptr ? 1 : 0); }

  KvShape shape_;
  std::atomic<long> length_{0};
  std::atomic<std::size_t> held_blocks_{0};
  // No more than the tokens need but between reserve() and what follows: a fork shares them all.
  std::vector<std::shared_ptr<KvBlock>> blocks_;
  std::vector<std::unique_ptr<KvBlock>> scratch_;
  std::shared_ptr<KvBlock> spare_;  // room that keep() gave back: the next reserve() is likely to want it again
  Tree tree_;
};

}  // namespace outrider
