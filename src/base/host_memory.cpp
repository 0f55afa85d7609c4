#include "base/host_memory.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "base/parse.h"

namespace quern {
namespace {

std::string file_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

// The number after `key` at the start of a line, or nothing.
std::optional<uint64_t> number_after(std::string_view text, std::string_view key) {
  for (size_t line = 0; line < text.size();) {
    const size_t end = std::min(text.find('\n', line), text.size());
    std::string_view rest = text.substr(line, end - line);
    line = end + 1;
    if (!rest.starts_with(key)) continue;
    rest.remove_prefix(key.size());
    while (!rest.empty() && (rest.front() == ' ' || rest.front() == ':')) rest.remove_prefix(1);
    return parse_number<uint64_t>(rest.substr(0, rest.find(' ')));
  }
  return std::nullopt;
}

// Cuts `memory` by one cgroup folder's limit; what its files take in the page cache is given back under pressure.
void cut(HostMemory& memory, const std::string& folder, const char* limit_file, const char* usage_file, const char* cache_key) {
  const auto limit = number_after(file_text(folder + limit_file), ""), usage = number_after(file_text(folder + usage_file), "");
  if (!limit || !usage || *limit >= memory.total_bytes) return;
  memory.total_bytes = *limit;
  const uint64_t cache = number_after(file_text(folder + "/memory.stat"), cache_key).value_or(0), held = *usage - std::min(*usage, cache);
  memory.available_bytes = std::min(memory.available_bytes, *limit - std::min(*limit, held));
}

}  // namespace

HostMemory host_memory() {
  const std::string info = file_text("/proc/meminfo");
  HostMemory memory;
  memory.total_bytes = number_after(info, "MemTotal").value_or(0) * 1024;
  memory.available_bytes = number_after(info, "MemAvailable").value_or(0) * 1024;
  std::istringstream lines(file_text("/proc/self/cgroup"));
  for (std::string line; std::getline(lines, line);) {  // "hierarchy:controllers:path"
    const size_t first = line.find(':'), second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    for (const std::string& folder : {std::string(), path}) {  // in a container the mount itself is the group
      if (controllers.empty()) {
        cut(memory, "/sys/fs/cgroup" + folder, "/memory.max", "/memory.current", "inactive_file");
      } else if (controllers == "memory") {
        cut(memory, "/sys/fs/cgroup/memory" + folder, "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file");
      }
    }
  }
  return memory;
}

}  // namespace quern
