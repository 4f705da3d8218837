// A file of a model, read in pieces while weights are packed, so that no second copy of a model is ever held.
//
// Read and not mapped: a mapped file that somebody cuts short kills the process that touches its lost pages, at any
// moment of the packing; a read comes back short, which is an error like others. The copy goes at the speed of memory
// into scratch that stays in cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/status.h"

namespace outrider {

class ModelFile {
 public:
  ModelFile() = default;
  ~ModelFile();
  ModelFile(ModelFile&& other) noexcept;
  ModelFile& operator=(ModelFile&& other) noexcept;

  // Opens a regular file. `path` is UTF-8.
  Result open(const std::string& path);

  [[nodiscard]] std::size_t size() const { return size_; }
  // Device, inode, size and time of change: what makes this file this file, for sharing weights between loads.
  [[nodiscard]] const std::string& identity() const { return identity_; }
  // All of [offset, offset + bytes) into `out`; false if the file has become shorter or cannot be read. From any
  // thread.
  [[nodiscard]] bool read(std::size_t offset, std::size_t bytes, void* out) const;

 private:
  std::size_t size_ = 0;
  int fd_ = -1;
  std::string identity_;
};

}  // namespace outrider
