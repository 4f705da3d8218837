#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace outrider {

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::uint8_t*>(data_), size_);
  if (fd_ >= 0) ::close(fd_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(fd_, other.fd_);
  std::swap(identity_, other.identity_);
  return *this;
}

Result MappedFile::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Result::error(Status::kIo, "Cannot open " + path + ": " + std::strerror(errno));
  struct stat info {};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return Result::error(Status::kIo, "Expected a regular file at " + path);
  }
  const auto bytes = static_cast<std::size_t>(info.st_size);
  if (bytes > 0) {
    void* pages = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (pages == MAP_FAILED) {
      const std::string why = std::strerror(errno);
      ::close(fd);
      return Result::error(Status::kIo, "Cannot map " + path + ": " + why);
    }
    data_ = static_cast<const std::uint8_t*>(pages);
  }
  fd_ = fd;
  size_ = bytes;
  identity_ = std::to_string(info.st_dev) + ":" + std::to_string(info.st_ino) + ":" + std::to_string(bytes) + ":" +
              std::to_string(info.st_mtim.tv_sec) + "." + std::to_string(info.st_mtim.tv_nsec);
  return {};
}

bool MappedFile::whole() const {
  struct stat info {};
  return fstat(fd_, &info) == 0 && info.st_size >= static_cast<off_t>(size_);
}

void MappedFile::forget(std::size_t offset, std::size_t bytes) const {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t begin = (offset + page - 1) / page * page;
  const std::size_t end = (offset + bytes) / page * page;
  if (end > begin) madvise(const_cast<std::uint8_t*>(data_) + begin, end - begin, MADV_DONTNEED);
}

}  // namespace outrider
