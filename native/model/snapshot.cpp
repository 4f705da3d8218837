// Sequence::save and restore. Layout, little endian:
//   magic "ORKV", version u32, model fingerprint u64, layers i64, kv heads i64, head size i64, element type i64, tokens
//   i64, checksum u64 of all blocks, checksum u64 of the header before it; then the blocks, whole, in order.
#include <cstring>

#include "base/hash.h"
#include "model/sequence.h"

namespace outrider {
namespace {

constexpr std::uint32_t kMagic = 0x564B524Fu;
constexpr std::uint32_t kVersion = 1;

struct Header {
  std::uint32_t magic, version;
  std::uint64_t model;
  std::int64_t layers, kv_heads, head_dim, type, tokens;
  std::uint64_t blocks_hash, header_hash;
};

std::uint64_t hash_of(const Header& header) { return hash64(&header, offsetof(Header, header_hash), kMagic); }

}  // namespace

std::size_t Sequence::snapshot_bytes() const { return sizeof(Header) + blocks_.size() * shape_.block_bytes(); }

// Slots behind the last token may hold truncated ones: equal sequences shall have equal snapshots.
void Sequence::clear_tail(std::byte* block, long slot) const {
  for (long layer = 0; layer < shape_.layers; ++layer) {
    for (long head = 0; head < shape_.kv_heads; ++head) {
      kv_page_clear(block + page_offset(layer, head), slot, kPageTokens, shape_.head_dim, shape_.type);
    }
  }
}

void Sequence::save(std::uint64_t model, std::byte* out) const {
  const std::size_t block_bytes = shape_.block_bytes();
  std::byte* at = out + sizeof(Header);
  std::uint64_t hash = 0;
  for (std::size_t b = 0; b < blocks_.size(); ++b, at += block_bytes) {
    std::memcpy(at, blocks_[b]->memory.data(), block_bytes);
    if (b + 1 == blocks_.size() && length_ % kPageTokens != 0) clear_tail(at, length_ % kPageTokens);
    hash = hash64(at, block_bytes, hash);
  }
  Header header{kMagic,
                kVersion,
                model,
                shape_.layers,
                shape_.kv_heads,
                shape_.head_dim,
                static_cast<std::int64_t>(shape_.type),
                length(),
                hash,
                0};
  header.header_hash = hash_of(header);
  std::memcpy(out, &header, sizeof(header));
}

Result Sequence::restore(std::uint64_t model, const std::byte* data, std::size_t bytes, long max_tokens) {
  const auto refuse = [](const char* what) { return Result::error(Status::kSnapshot, what); };
  Header header;
  if (bytes < sizeof(header)) return refuse("Expected a KV snapshot, received too few bytes for its header");
  std::memcpy(&header, data, sizeof(header));
  if (header.magic != kMagic) return refuse("Expected a KV snapshot, received other data");
  if (header.version != kVersion) return refuse("Expected KV snapshot version 1, received another version");
  if (header.header_hash != hash_of(header)) return refuse("The header of the KV snapshot is damaged");
  if (header.model != model) return refuse("The KV snapshot belongs to another model");
  if (header.layers != shape_.layers || header.kv_heads != shape_.kv_heads || header.head_dim != shape_.head_dim ||
      header.type != static_cast<std::int64_t>(shape_.type)) {
    return refuse("The KV snapshot has another KV format than this model was loaded with");
  }
  if (header.tokens < 0 || header.tokens > max_tokens) return refuse("The KV snapshot does not fit the context length");
  const std::size_t block_bytes = shape_.block_bytes();
  const auto count = static_cast<std::size_t>((header.tokens + kPageTokens - 1) / kPageTokens);
  if (bytes != sizeof(header) + count * block_bytes) return refuse("The KV snapshot is truncated or too long");
  const std::byte* at = data + sizeof(header);
  std::uint64_t hash = 0;
  for (std::size_t b = 0; b < count; ++b) hash = hash64(at + b * block_bytes, block_bytes, hash);
  if (hash != header.blocks_hash) return refuse("The content of the KV snapshot is damaged");

  Sequence fresh(shape_);
  if (fresh.reserve(header.tokens) != Status::kOk)
    return Result::error(Status::kMemory, "Cannot allocate the KV pages of a snapshot");
  for (std::size_t b = 0; b < count; ++b)
    std::memcpy(fresh.blocks_[b]->memory.data(), at + b * block_bytes, block_bytes);
  blocks_ = std::move(fresh.blocks_);
  length_ = static_cast<long>(header.tokens);
  scratch_.clear();
  tree_ = {};
  count_blocks();
  return {};
}

}  // namespace outrider
