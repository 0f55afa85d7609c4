// A regular file, mapped read-only. Owns the mapping; any thread may read it. Not for writing.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace quern {

class MappedFile {
 public:
  // Opens and maps `path`. Never waits on a FIFO or opens a device: what is not a regular file is refused (invalid_input).
  // Throws resource with the system's text when the file is missing or unreadable.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

  // Tells the system that [offset, offset + length) will be read soon, or is no longer needed (frees resident pages).
  void will_need(uint64_t offset, uint64_t length) const;
  void release(uint64_t offset, uint64_t length) const;

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  uint64_t size_ = 0;
};

// The whole file as text; at most `max_bytes` (invalid_input beyond). Same rules as MappedFile.
std::string read_text_file(const std::string& path, uint64_t max_bytes);

}  // namespace quern
