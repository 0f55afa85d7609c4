#include "files/partial_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <system_error>

#include "base/error.h"
#include "base/log.h"
#include "base/parse.h"

namespace quern {
namespace {

// While the file is unfinished its first 8 bytes, the header length of safetensors, are 0; behind them stands who is writing.
constexpr uint64_t kOwnerOffset = 8;
constexpr std::string_view kOwnerText = "unfinished, pid ";

std::string system_text(int error) { return std::generic_category().message(error); }

bool is_same_file(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

// Whether `fd` is the file that `path` names now.
bool is_still(const std::string& path, int fd) {
  struct stat named {
  }, opened{};
  return ::lstat(path.c_str(), &named) == 0 && ::fstat(fd, &opened) == 0 && is_same_file(named, opened);
}

}  // namespace

PartialFile::PartialFile(const std::string& path, uint64_t bytes, const std::vector<std::string>& inputs, FileCalls& calls)
    : path_(path), partial_path_(path + ".partial"), bytes_(bytes), calls_(calls) {
  const size_t slash = path.rfind('/');
  folder_ = slash == path.npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  check_path(inputs);
  folder_fd_ = calls_.open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (folder_fd_ < 0) raise(resource, "{}: folder {}: {}", escaped(path_), escaped(folder_), system_text(errno));
  try {
    lock();
    check_space();
    write(0, std::vector<std::byte>(kOwnerOffset));
    const std::string owner = fmt::format("{}{}\n", kOwnerText, ::getpid());
    write(kOwnerOffset, std::as_bytes(std::span(owner)));
  } catch (...) {
    if (fd_ >= 0) {
      calls_.unlink(partial_path_.c_str());
      calls_.close(fd_);
    }
    calls_.close(folder_fd_);
    throw;
  }
}

PartialFile::~PartialFile() {
  if (!is_committed_) calls_.unlink(partial_path_.c_str());
  calls_.close(fd_);
  calls_.close(folder_fd_);
}

void PartialFile::fail(const std::string& what, int error) const {
  const int64_t free = calls_.free_bytes(folder_.c_str());
  raise(resource, "{}: {}: {}; the file needs {} bytes, {} are free", escaped(path_), what, system_text(error), bytes_,
        free < 0 ? "an unknown number" : fmt::to_string(free));
}

void PartialFile::check_path(const std::vector<std::string>& inputs) const {
  if (path_.empty() || path_.find('\0') != path_.npos || path_.ends_with('/'))
    raise(usage, "{}: want the name of a file to write", escaped(path_));
  for (const std::string& output : {path_, partial_path_}) {
    struct stat out {
    }, in{};
    if (::stat(output.c_str(), &out) != 0) continue;
    for (const std::string& input : inputs) {
      if (::stat(input.c_str(), &in) == 0 && is_same_file(out, in))
        raise(usage, "{}: output and input {} are the same file", escaped(output), escaped(input));
    }
    if (!S_ISREG(out.st_mode))
      raise(resource, "{}: want the name of a file to write, found {}", escaped(output),
            S_ISDIR(out.st_mode) ? "a folder" : "a special file");
  }
}

void PartialFile::refuse_locked(int fd) const {
  char text[64] = {};
  const ssize_t length = ::pread(fd, text, sizeof(text) - 1, kOwnerOffset);
  const std::string_view owner(text, length > 0 ? static_cast<size_t>(length) : 0);
  const size_t end = owner.find('\n');
  const auto pid = owner.starts_with(kOwnerText) && end != owner.npos
                       ? parse_number<uint32_t>(owner.substr(kOwnerText.size(), end - kOwnerText.size()))
                       : std::nullopt;
  calls_.close(fd);
  raise(resource, "{}: another build is writing {}: the lock is held by pid {}", escaped(path_), escaped(partial_path_),
        pid ? fmt::to_string(*pid) : "unknown");
}

// A regular file that nobody holds: what a killed writer left.
void PartialFile::remove_leftover(int fd) {
  struct stat status {};
  ::fstat(fd, &status);
  log_warning("{}: removed {} ({} bytes), which an unfinished build left", escaped(path_), escaped(partial_path_), status.st_size);
  if (calls_.unlink(partial_path_.c_str()) != 0 && errno != ENOENT) {
    const int error = errno;
    calls_.close(fd);
    fail(fmt::format("removing {}", escaped(partial_path_)), error);
  }
}

void PartialFile::lock() {
  // Two writers may meet between any two calls. Only who locked the file that the name still stands for goes on.
  for (int attempt = 0; attempt < 100; ++attempt) {
    int fd = calls_.open(partial_path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    const bool is_new = fd >= 0;
    if (!is_new) {
      if (errno != EEXIST) fail(fmt::format("creating {}", escaped(partial_path_)), errno);
      fd = calls_.open(partial_path_.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
      if (fd < 0 && errno == ENOENT) continue;
      if (fd < 0) fail(fmt::format("opening {}, which is there already", escaped(partial_path_)), errno);
    }
    if (calls_.flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      if (error == EWOULDBLOCK) refuse_locked(fd);
      if (is_new) calls_.unlink(partial_path_.c_str());
      calls_.close(fd);
      fail(fmt::format("locking {}", escaped(partial_path_)), error);
    }
    if (is_still(partial_path_, fd)) {
      if (is_new) {
        fd_ = fd;
        return;
      }
      remove_leftover(fd);
    }
    calls_.close(fd);
  }
  raise(resource, "{}: other builds keep writing {}", escaped(path_), escaped(partial_path_));
}

void PartialFile::check_space() const {
  const int64_t free = calls_.free_bytes(folder_.c_str());
  if (free >= 0 && static_cast<uint64_t>(free) < bytes_) {
    raise(resource, "{}: folder {}: want {} bytes of free space, found {}", escaped(path_), escaped(folder_), bytes_, free);
  }
}

void PartialFile::write(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = calls_.pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    // A file system that takes nothing and names no error is full.
    if (written <= 0)
      fail(fmt::format("writing {} bytes at offset {} of {}", bytes.size(), offset, escaped(partial_path_)), written < 0 ? errno : ENOSPC);
    const size_t count = std::min(static_cast<size_t>(written), bytes.size());
    offset += count;
    bytes = bytes.subspan(count);
  }
}

void PartialFile::sync() {
  while (calls_.fsync(fd_) != 0) {
    if (errno != EINTR) fail(fmt::format("syncing {}", escaped(partial_path_)), errno);
  }
}

void PartialFile::commit() {
  // Closing can report a late write error, but the lock must outlive the rename: a second descriptor is closed in its place.
  const int second = ::fcntl(fd_, F_DUPFD_CLOEXEC, 0);
  if (second < 0) fail(fmt::format("closing {}", escaped(partial_path_)), errno);
  if (calls_.close(second) != 0 && errno != EINTR) fail(fmt::format("closing {}", escaped(partial_path_)), errno);
  if (calls_.rename(partial_path_.c_str(), path_.c_str()) != 0) fail(fmt::format("renaming {}", escaped(partial_path_)), errno);
  is_committed_ = true;
  // Some file systems cannot sync a folder and say EINVAL; they order the rename themselves.
  if (calls_.fsync(folder_fd_) != 0 && errno != EINVAL && errno != ENOTSUP) {
    raise(resource, "{}: the file is complete, but syncing its folder {} gave: {}", escaped(path_), escaped(folder_), system_text(errno));
  }
}

}  // namespace quern
