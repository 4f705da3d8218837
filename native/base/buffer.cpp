#include "base/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

namespace outrider {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kMapFrom = std::size_t{1} << 20;
constexpr std::size_t kLimit = std::size_t{1}
                               << 46;  // more than any machine has; keeps the rounding below from wrapping

}  // namespace

Buffer::Buffer(std::size_t bytes) {
  if (bytes == 0 || bytes > kLimit) return;
  if (bytes >= kMapFrom) {
    void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return;
#ifdef MADV_HUGEPAGE
    if (bytes >= 4 * kMapFrom) madvise(pages, bytes, MADV_HUGEPAGE);
#endif
    data_ = static_cast<std::byte*>(pages);
  } else {
    const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    void* block = std::aligned_alloc(kAlignment, rounded);
    if (block == nullptr) return;
    std::memset(block, 0, rounded);
    data_ = static_cast<std::byte*>(block);
  }
  size_ = bytes;
}

Buffer::~Buffer() {
  if (data_ == nullptr) return;
  if (size_ >= kMapFrom) {
    munmap(data_, size_);
  } else {
    std::free(data_);
  }
}

std::byte* Arena::take(std::size_t bytes) {
  const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (bytes == 0 || bytes > kLimit) return nullptr;
  if (pieces_.empty() || rounded > pieces_.back().size() - used_) {
    Buffer piece(pieces_.empty() && expected_ > rounded ? expected_ : rounded);
    if (!piece) return nullptr;
    pieces_.push_back(std::move(piece));
    used_ = 0;
  }
  std::byte* const block = pieces_.back().data() + used_;
  used_ += rounded;
  return block;
}

void Arena::give_back(std::byte* block) {
  if (!pieces_.empty() && block >= pieces_.back().data())
    used_ = static_cast<std::size_t>(block - pieces_.back().data());
}

}  // namespace outrider
