// A model folder, from which files are taken by plain names only: no separators, no "..", nothing but regular files (also at the end of
// a symbolic link, as in the hub's cache). Names that come from files never lead elsewhere and never block on a FIFO.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/mapped_file.h"

namespace quern {

class Folder {
 public:
  explicit Folder(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  std::string path_of(const std::string& name) const { return path_ + "/" + name; }
  // Names of the entries, sorted; at most 100,000 (invalid_input beyond).
  std::vector<std::string> names() const;
  // Whether there is an entry called `name`, of any kind.
  bool has(const std::string& name) const;
  // Maps the regular file `name`. Throws invalid_input "<folder>: <name>: ..., wanted by <wanted_by>" when the name is not a plain one, the
  // file is missing or is no regular file; resource when it cannot be read.
  std::shared_ptr<MappedFile> map(const std::string& name, const std::string& wanted_by) const;

 private:
  std::string path_;
};

}  // namespace quern
