// A file that has its final name only when it is complete. Until commit() its bytes are under FINAL.partial in the same folder, locked
// against a second writer; a writer that was killed leaves that file, and the next one removes it. Owned by EngineFileWriter; one thread.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "files/file_calls.h"

namespace quern {

class PartialFile {
 public:
  // For a file of `bytes` bytes. Throws usage when `path` or its partial name is one of `inputs` (also by link); resource when the folder
  // is missing or cannot be written, the space does not suffice, or another process holds the lock (naming its pid).
  PartialFile(const std::string& path, uint64_t bytes, const std::vector<std::string>& inputs, FileCalls& calls);
  // Removes the partial file unless it was committed.
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  // Throws resource with path, system text and the bytes that the whole file needs.
  void write(uint64_t offset, std::span<const std::byte> bytes);
  void sync();
  // Gives the file its final name and syncs the folder.
  void commit();

 private:
  void check_path(const std::vector<std::string>& inputs) const;
  void lock();
  void remove_leftover(int fd);
  [[noreturn]] void refuse_locked(int fd) const;
  void check_space() const;
  [[noreturn]] void fail(const std::string& what, int error) const;

  std::string path_, partial_path_, folder_;
  uint64_t bytes_;
  FileCalls& calls_;
  int fd_ = -1, folder_fd_ = -1;
  bool is_committed_ = false;
};

}  // namespace quern
