#include "builder/model_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "base/version.h"
#include "builder/weight_policy.h"
#include "files/engine_file.h"
#include "files/xxh3.h"

namespace quern {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFolderEntries = 10'000;  // of a checkpoint's folder

// Held while one process builds a cached engine. Not the writer's own lock, which answers at once. Released by the system when the process
// ends, however it ends.
class BuildLock {
 public:
  BuildLock(const std::string& path, const std::function<void(const std::string&)>& say) {
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd_ < 0) raise(resource, "{}: {}", escaped(path), std::generic_category().message(errno));
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
    if (say) say("another process builds this model's engine: waiting for it");
    while (::flock(fd_, LOCK_EX) != 0) {
      if (errno == EINTR) continue;
      const int number = errno;
      ::close(fd_);
      raise(resource, "{}: {}", escaped(path), std::generic_category().message(number));
    }
  }
  ~BuildLock() { ::close(fd_); }
  BuildLock(const BuildLock&) = delete;
  BuildLock& operator=(const BuildLock&) = delete;

 private:
  int fd_;
};

// One line for a file's identity: name, size and time of its last change.
std::string file_identity(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return path.filename().string() + "|-";  // a dangling link: the reader will name it
  return fmt::format("{}|{}|{}.{:09}|{}", path.filename().string(), status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec,
                     status.st_mode & S_IFMT);
}

// Changes when anything does that a build would read: the source's files, what is asked for, and what this program makes of it.
std::string cache_key(const fs::path& source, const std::string& dtype, size_t group_size) {
  std::vector<std::string> lines;
  std::error_code error;
  if (fs::is_directory(source, error)) {
    fs::directory_iterator entry(source, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
      if (lines.size() >= kMaxFolderEntries) {
        raise(invalid_input, "{}: want at most {} files, found more", escaped(source.string()), kMaxFolderEntries);
      }
      lines.push_back(file_identity(entry->path()));
    }
    if (error) raise(resource, "{}: {}", escaped(source.string()), error.message());
  } else {
    lines.push_back(file_identity(source));
  }
  std::ranges::sort(lines);
  std::string text = fmt::format("{}\n{}\n{}\n{}\n{}\n", kEngineFormatVersion, kVersion, dtype, group_size, source.string());
  for (const std::string& line : lines) text += line + '\n';
  return fmt::format("{:016x}", xxh3_of(text));
}

// The parts of a split GGUF lie beside the first one, so that their folder is what identifies them.
bool is_split_part(const fs::path& path) { return path.filename().string().find("-of-") != std::string::npos; }

bool is_sound_engine(const std::string& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return false;
  try {
    EngineFile::open(path);
    return true;
  } catch (const Error&) {
    return false;  // is built again, over it
  }
}

bool needs_build(const std::string& model) {
  std::error_code error;
  if (fs::is_directory(model, error)) return true;
  const MappedFile file(model);
  return file.text().starts_with("GGUF");
}

void make_folders(const std::string& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    raise(resource, "{}: cannot keep a built engine there: {}: set XDG_CACHE_HOME, or build one with `quern build`", escaped(folder),
          error.message());
  }
}

// Characters of a file name that need no care anywhere.
std::string plain_name(const std::string& name) {
  std::string plain;
  for (const char c : name.substr(0, 80)) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
    plain += is_plain ? c : '_';
  }
  return plain.empty() || plain[0] == '.' ? "model" + plain : plain;
}

}  // namespace

std::string cache_folder() {
  for (const auto& [variable, below] : {std::pair{"XDG_CACHE_HOME", "quern"}, std::pair{"HOME", ".cache/quern"}}) {
    const char* value = std::getenv(variable);
    if (value != nullptr && value[0] == '/') return (fs::path(value) / below).string();
  }
  raise(resource,
        "cache: want XDG_CACHE_HOME or HOME to name a folder for the built engine, found neither: set one, or build with `quern build`");
}

std::string resolve_model(const std::string& model, const ResolveOptions& options) {
  if (!needs_build(model)) return model;
  const std::function<void(const std::string&)> say = options.say ? options.say : [](const std::string& line) { log_info("{}", line); };
  std::string dtype = weight_dtype_name(parse_weight_dtype(options.dtype));
  std::error_code error;
  const fs::path source = fs::canonical(model, error);
  if (error) raise(resource, "{}: {}", escaped(model), error.message());
  const bool is_folder = fs::is_directory(source, error);
  const std::string folder = cache_folder();
  make_folders(folder);
  const std::string key = cache_key(is_split_part(source) ? source.parent_path() : source, dtype, options.group_size);
  const std::string name = plain_name((is_folder ? source.filename() : source.stem()).string()) + "-" + dtype + "-" + key;
  std::string path = (fs::path(folder) / (name + ".quern")).string();
  if (is_sound_engine(path)) return path;

  const BuildLock lock(path + ".wait", say);
  if (is_sound_engine(path)) return path;  // another process was faster
  say(fmt::format("building the engine file of {} once, in the cache: {}", escaped(model), escaped(path)));
  const BuildResult built = build_engine({.source = source.string(),
                                          .output = path,
                                          .dtype = dtype,
                                          .group_size = options.group_size,
                                          .num_threads = options.num_threads,
                                          .progress = options.progress});
  for (const std::string& note : built.notes) say(note);
  return path;
}

}  // namespace quern
