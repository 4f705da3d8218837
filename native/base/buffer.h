// Memory for weights, KV pages and scratch: 64-byte aligned, allocation failure is a null pointer and not an exception.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace outrider {

// Owns `bytes` bytes, zeroed. From 1 MiB on the pages come from the kernel and go back to it when freed, so that a
// disposed model leaves the process as small as it was (malloc would keep them).
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  template <typename T>
  [[nodiscard]] T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  void swap(Buffer& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Many blocks that live and die together, in as few mappings as may be: matrices below the size of a huge page share
// some.
class Arena {
 public:
  Arena() = default;
  // Room for about `expected` bytes in one piece; more comes in pieces of its own.
  explicit Arena(std::size_t expected) : expected_(expected) {}

  // 64-byte aligned and zeroed; null if memory ran out. Blocks need bytes + 63 of the room.
  std::byte* take(std::size_t bytes);
  // Gives back the block taken last.
  void give_back(std::byte* block);

 private:
  std::size_t expected_ = 0;
  std::vector<Buffer> pieces_;
  std::size_t used_ = 0;  // of the last piece
};

// Values that arrive one after the other in memory that was asked for beforehand, so that running out of it is an
// answer and not an exception in the middle of a step.
template <typename T>
class Column {
 public:
  // Room for `capacity` values; false if memory ran out.
  bool reserve(std::size_t capacity) {
    if (capacity > ~std::size_t{0} / sizeof(T)) return false;
    memory_ = Buffer(capacity * sizeof(T));
    return capacity == 0 || memory_;
  }
  // The next `count` places, to be written.
  T* extend(std::size_t count) {
    T* const at = memory_.as<T>() + size_;
    size_ += count;
    return at;
  }
  void push(T value) { *extend(1) = value; }

  [[nodiscard]] const T* data() const { return memory_.as<T>(); }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  // Hands the memory over.
  Buffer take() {
    size_ = 0;
    return std::move(memory_);
  }

 private:
  Buffer memory_;
  std::size_t size_ = 0;
};

}  // namespace outrider
