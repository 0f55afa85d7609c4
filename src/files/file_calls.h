// The system calls that write an engine file, in one place so that a test can make any of them fail. Stateless; any thread.
#pragma once
#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace quern {

// Each returns what the system call of its name returns, with errno set.
class FileCalls {
 public:
  virtual ~FileCalls() = default;
  virtual int open(const char* path, int flags, mode_t mode);
  virtual ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset);
  virtual int fsync(int fd);
  virtual int close(int fd);
  virtual int rename(const char* from, const char* to);
  virtual int unlink(const char* path);
  virtual int flock(int fd, int operation);
  // Bytes that this process may still write in the file system of `path`; -1 on failure.
  virtual int64_t free_bytes(const char* path);
};

}  // namespace quern
