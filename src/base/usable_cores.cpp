#include "base/usable_cores.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

#include "base/parse.h"

namespace quern {
namespace {

// The first `max_bytes` of a small system file, without trailing blanks; empty when it cannot be read.
std::string system_text(const std::string& path, size_t max_bytes = 64 * 1024) {
  std::ifstream in(path, std::ios::binary);
  std::string text(max_bytes, '\0');
  in.read(text.data(), static_cast<std::streamsize>(max_bytes));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(0, in.gcount())));
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

// The smaller of two quotas, 0 meaning none.
double tighter(double a, double b) { return a == 0 ? b : b == 0 ? a : std::min(a, b); }

double ratio(std::string_view quota, std::string_view period) {
  const auto q = parse_number<int64_t>(quota), p = parse_number<int64_t>(period);
  return q && p && *q > 0 && *p > 0 ? static_cast<double>(*q) / static_cast<double>(*p) : 0;
}

// Quota of one cgroup folder: v2's cpu.max ("max 100000" or "150000 100000"), or v1's pair of files.
double folder_quota(const std::string& folder) {
  const std::string max = system_text(folder + "/cpu.max");
  if (const size_t space = max.find(' '); space != std::string::npos) return ratio(max.substr(0, space), max.substr(space + 1));
  return ratio(system_text(folder + "/cpu.cfs_quota_us"), system_text(folder + "/cpu.cfs_period_us"));
}

// The folder and its parents up to the mount. Inside a container the path may name folders of the host that are not mounted here.
double path_quota(const std::string& mount, std::string path) {
  double quota = folder_quota(mount);
  while (path.size() > 1) {
    quota = tighter(quota, folder_quota(mount + path));
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
  return quota;
}

std::vector<size_t> allowed_cpus() {
  for (size_t limit = 1024; limit <= 65536; limit *= 2) {  // EINVAL while the kernel knows more CPUs than the set holds
    cpu_set_t* set = CPU_ALLOC(limit);
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(limit);
    std::vector<size_t> cpus;
    if (sched_getaffinity(0, bytes, set) == 0) {
      for (size_t cpu = 0; cpu < limit; ++cpu) {
        if (CPU_ISSET_S(cpu, bytes, set)) cpus.push_back(cpu);
      }
    }
    CPU_FREE(set);
    if (!cpus.empty()) return cpus;
  }
  std::vector<size_t> cpus(std::max(1U, std::thread::hardware_concurrency()));
  for (size_t i = 0; i < cpus.size(); ++i) cpus[i] = i;
  return cpus;
}

}  // namespace

double cgroup_quota(std::string_view membership, const std::string& root) {
  double quota = 0;
  std::istringstream lines{std::string(membership)};
  for (std::string line; std::getline(lines, line);) {  // "hierarchy:controllers:path"
    const size_t first = line.find(':'), second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    if (controllers.empty()) {
      quota = tighter(quota, path_quota(root, path));
      quota = tighter(quota, path_quota(root + "/unified", path));
    } else if (fmt::format(",{},", controllers).find(",cpu,") != std::string::npos) {
      quota = tighter(quota, path_quota(root + "/cpu", path));
      quota = tighter(quota, path_quota(fmt::format("{}/{}", root, controllers), path));
    }
  }
  return quota;
}

size_t usable_cores() {
  std::set<std::string> cores;
  for (const size_t cpu : allowed_cpus()) {
    const std::string siblings = system_text("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    cores.insert(siblings.empty() ? std::to_string(cpu) : siblings);
  }
  const double quota = cgroup_quota(system_text("/proc/self/cgroup"), "/sys/fs/cgroup");
  if (quota == 0) return cores.size();
  return std::clamp<size_t>(static_cast<size_t>(std::lround(std::min(quota, 65536.0))), 1, cores.size());
}

}  // namespace quern
