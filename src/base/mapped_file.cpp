#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/bus_error.h"
#include "base/checked.h"
#include "base/error.h"

namespace quern {
namespace {

std::string system_text(int number) { return std::generic_category().message(number); }

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

 private:
  int fd_;
};

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  struct stat status {};
  if (path.find('\0') != path.npos || ::stat(path.c_str(), &status) != 0) raise(resource, "{}: {}", escaped(path), system_text(errno));
  if (!S_ISREG(status.st_mode))
    raise(invalid_input, "{}: want a regular file, found {}", escaped(path), S_ISDIR(status.st_mode) ? "a folder" : "a special file");
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) raise(resource, "{}: {}", escaped(path), system_text(errno));
  const Descriptor closer(fd);
  if (::fstat(fd, &status) != 0) raise(resource, "{}: {}", escaped(path), system_text(errno));
  if (!S_ISREG(status.st_mode)) raise(invalid_input, "{}: want a regular file", escaped(path));
  size_ = static_cast<uint64_t>(status.st_size);
  if (size_ == 0) return;
  void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) raise(resource, "{}: cannot map {} bytes: {}", escaped(path), size_, system_text(errno));
  data_ = static_cast<const std::byte*>(mapped);
  note_mapped_file(data_, size_, path_);
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  forget_mapped_file(data_);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

namespace {

void advise(const std::byte* data, uint64_t size, uint64_t offset, uint64_t length, int advice) {
  if (data == nullptr || !range_fits(offset, length, size)) return;
  const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t begin = offset / page * page;
  ::madvise(const_cast<std::byte*>(data) + begin, length + (offset - begin), advice);
}

}  // namespace

void MappedFile::will_need(uint64_t offset, uint64_t length) const { advise(data_, size_, offset, length, MADV_WILLNEED); }
void MappedFile::release(uint64_t offset, uint64_t length) const { advise(data_, size_, offset, length, MADV_DONTNEED); }

std::string read_text_file(const std::string& path, uint64_t max_bytes) {
  const MappedFile file(path);
  if (file.size() > max_bytes) raise(invalid_input, "{}: want at most {} bytes, found {}", escaped(path), max_bytes, file.size());
  return std::string(file.text());
}

}  // namespace quern
