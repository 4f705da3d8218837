// A file mapped read-only. Weights are packed straight from it, so no second copy of a model is ever held.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/status.h"

namespace outrider {

class MappedFile {
 public:
  MappedFile() = default;
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  // Maps a regular file. `path` is UTF-8. An empty file maps to no bytes.
  Result open(const std::string& path);

  [[nodiscard]] const std::uint8_t* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  // Device, inode, size and time of change: what makes this file this file, for sharing weights between loads.
  [[nodiscard]] const std::string& identity() const { return identity_; }
  // False once somebody has cut the file short: the pages behind its new end are gone, and touching one is SIGBUS. Ask
  // again and again while reading; that leaves a moment, but no longer one.
  [[nodiscard]] bool whole() const;
  // Tells the kernel that a range has been read and need not stay in memory.
  void forget(std::size_t offset, std::size_t bytes) const;

 private:
  const std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
  int fd_ = -1;
  std::string identity_;
};

}  // namespace outrider
