#include "files/file_calls.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <limits>

#include "base/checked.h"

namespace quern {

int FileCalls::open(const char* path, int flags, mode_t mode) { return ::open(path, flags, mode); }
ssize_t FileCalls::pwrite(int fd, const void* bytes, size_t count, off_t offset) { return ::pwrite(fd, bytes, count, offset); }
int FileCalls::fsync(int fd) { return ::fsync(fd); }
int FileCalls::close(int fd) { return ::close(fd); }
int FileCalls::rename(const char* from, const char* to) { return ::rename(from, to); }
int FileCalls::unlink(const char* path) { return ::unlink(path); }
int FileCalls::flock(int fd, int operation) { return ::flock(fd, operation); }

int64_t FileCalls::free_bytes(const char* path) {
  struct statvfs status {};
  if (::statvfs(path, &status) != 0) return -1;
  const Checked bytes = Checked(status.f_bavail) * status.f_frsize;
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  return static_cast<int64_t>(bytes.overflowed() ? kMost : std::min(bytes.or_throw("free space"), kMost));
}

}  // namespace quern
