#include "files/folder.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/error.h"

namespace quern {
namespace {

constexpr size_t kMaxEntries = 100'000;

std::string system_text(int number) { return std::generic_category().message(number); }

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." && name.find('/') == name.npos && name.find('\0') == name.npos;
}

}  // namespace

std::vector<std::string> Folder::names() const {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(path_.c_str()), &::closedir);
  if (stream == nullptr) raise(resource, "{}: {}", escaped(path_), system_text(errno));
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (names.size() == kMaxEntries)
      raise(invalid_input, "{}: want a model folder of at most {} files, found more", escaped(path_), kMaxEntries);
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool Folder::has(const std::string& name) const {
  struct stat status {};
  return ::lstat(path_of(name).c_str(), &status) == 0;
}

std::shared_ptr<MappedFile> Folder::map(const std::string& name, const std::string& wanted_by) const {
  const auto refuse = [&](const std::string& found) {
    raise(invalid_input, "{}: {}: want a plain file in the folder, {}; wanted by {}", escaped(path_), escaped(name), found, wanted_by);
  };
  if (!is_plain_name(name)) refuse("found another kind of name");
  struct stat status {};
  if (::stat(path_of(name).c_str(), &status) != 0) {
    const int error = errno;
    if (error == ENOENT) refuse("it is missing");
    if (error == ELOOP || error == ENOTDIR || error == ENAMETOOLONG) refuse(fmt::format("found {}", system_text(error)));
    raise(resource, "{}: {}", escaped(path_of(name)), system_text(error));
  }
  if (!S_ISREG(status.st_mode))
    refuse(S_ISDIR(status.st_mode) ? "found a folder" : S_ISFIFO(status.st_mode) ? "found a FIFO" : "found a special file");
  return std::make_shared<MappedFile>(path_of(name));
}

}  // namespace quern
