#include "model/sequence.h"

#include <cstring>

namespace outrider {
namespace {

std::unique_ptr<KvBlock> new_block(const KvShape& shape) {
  auto block = std::make_unique<KvBlock>();
  block->memory = Buffer(shape.block_bytes());
  if (!block->memory) return nullptr;
  return block;
}

long blocks_for(long tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

}  // namespace

Status Sequence::reserve(long count) {
  const auto needed = static_cast<std::size_t>(blocks_for(length_ + count));
  const std::size_t had = blocks_.size();
  const auto partial = static_cast<std::size_t>(length_ / kPageTokens);
  if (length_ % kPageTokens != 0 && blocks_[partial].use_count() > 1) {  // copy on write
    std::shared_ptr<KvBlock> own = new_block(shape_);
    if (own == nullptr) return Status::kMemory;
    std::memcpy(own->memory.data(), blocks_[partial]->memory.data(), shape_.block_bytes());
    blocks_[partial] = std::move(own);
  }
  // A block that is not shared any more may have been read by a fork on another engine: before what is written now.
  std::atomic_thread_fence(std::memory_order_acquire);
  while (blocks_.size() < needed) {
    std::shared_ptr<KvBlock> block = spare_ != nullptr ? std::move(spare_) : new_block(shape_);
    if (block == nullptr) {
      blocks_.resize(had);
      return Status::kMemory;
    }
    blocks_.push_back(std::move(block));
  }
  count_blocks();
  return Status::kOk;
}

void Sequence::keep(long count) {
  advance(count);
  while (blocks_.size() > static_cast<std::size_t>(blocks_for(length_))) {
    spare_ = std::move(blocks_.back());
    blocks_.pop_back();
  }
  count_blocks();
}

void Sequence::truncate(long length) {
  if (length < length_) length_ = length;
  blocks_.resize(static_cast<std::size_t>(blocks_for(length_)));
  scratch_.clear();
  spare_ = nullptr;
  tree_ = {};
  count_blocks();
}

Status Sequence::reserve_scratch(long rows) {
  tree_ = {};
  while (static_cast<long>(scratch_.size()) < blocks_for(rows)) {
    auto block = new_block(shape_);
    if (block == nullptr) return Status::kMemory;
    scratch_.push_back(std::move(block));
  }
  count_blocks();
  return Status::kOk;
}

Status Sequence::commit(const std::int32_t* rows, long count, std::vector<std::int32_t>* history) {
  const auto slots = static_cast<std::int32_t>(tree_.parents.size());
  std::int32_t parent = -1;
  for (long i = 0; i < count; ++i) {
    if (rows[i] < 0 || rows[i] >= slots || tree_.parents[static_cast<std::size_t>(rows[i])] != parent) {
      return Status::kArgument;
    }
    parent = rows[i];
  }
  if (const Status reserved = reserve(count); reserved != Status::kOk) return reserved;
  for (long i = 0; i < count; ++i) {
    for (long layer = 0; layer < shape_.layers; ++layer) {
      for (long head = 0; head < shape_.kv_heads; ++head) {
        kv_page_copy(page(layer, head, length_ + i), (length_ + i) % kPageTokens, scratch_page(layer, head, rows[i]),
                     rows[i] % kPageTokens, shape_.head_dim, shape_.type);
      }
    }
  }
  for (long i = 0; history != nullptr && !tree_.tokens.empty() && i < count; ++i) {
    history->push_back(tree_.tokens[static_cast<std::size_t>(rows[i])]);
  }
  length_ += count;
  tree_ = {};
  return Status::kOk;
}

std::unique_ptr<Sequence> Sequence::fork() const {
  auto copy = std::make_unique<Sequence>(shape_);
  copy->length_ = length();
  copy->blocks_ = blocks_;
  copy->count_blocks();
  return copy;
}

void Sequence::layer_pages(long layer, std::vector<const std::byte*>* pages,
                           std::vector<const std::byte*>* scratch) const {
  const std::size_t offset = page_offset(layer, 0);
  pages->clear();
  scratch->clear();
  for (const auto& block : blocks_) pages->push_back(block->memory.data() + offset);
  for (const auto& block : scratch_) scratch->push_back(block->memory.data() + offset);
}

void Sequence::clear(long layer, long token) {
  for (long head = 0; head < shape_.kv_heads; ++head) {
    const long slot = token % kPageTokens;
    kv_page_clear(page(layer, head, token), slot, slot + 1, shape_.head_dim, shape_.type);
  }
}

void Sequence::clear_scratch(long layer, long row) {
  for (long head = 0; head < shape_.kv_heads; ++head) {
    const long slot = row % kPageTokens;
    kv_page_clear(scratch_page(layer, head, row), slot, slot + 1, shape_.head_dim, shape_.type);
  }
}

std::byte* Sequence::page(long layer, long head, long token) {
  return blocks_[static_cast<std::size_t>(token / kPageTokens)]->memory.data() + page_offset(layer, head);
}

std::byte* Sequence::scratch_page(long layer, long head, long row) {
  return scratch_[static_cast<std::size_t>(row / kPageTokens)]->memory.data() + page_offset(layer, head);
}

}  // namespace outrider
