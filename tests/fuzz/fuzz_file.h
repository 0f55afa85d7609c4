// A file in memory for readers that take a path: written anew for each input, removed at the end.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

namespace quern {

class FuzzFile {
 public:
  FuzzFile(const uint8_t* data, size_t size, const char* name) : fd_(::memfd_create(name, MFD_CLOEXEC)) {
    if (fd_ < 0 || ::write(fd_, data, size) != static_cast<ssize_t>(size)) std::abort();
  }
  ~FuzzFile() { ::close(fd_); }
  FuzzFile(const FuzzFile&) = delete;
  FuzzFile& operator=(const FuzzFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

// Reads `count` bytes through `sink`, so that a sanitizer sees every byte that a reader calls readable.
inline void touch(const void* bytes, size_t count, uint64_t& sink) {
  for (size_t i = 0; i < count; ++i) sink += static_cast<const uint8_t*>(bytes)[i];
}

}  // namespace quern
