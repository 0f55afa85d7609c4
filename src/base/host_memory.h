// Main memory of this machine as this process may use it: physical memory, cut by the limits of its cgroup. Any thread.
#pragma once
#include <cstdint>

namespace quern {

struct HostMemory {
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;  // without swapping; pages that only cache files count as available
};

HostMemory host_memory();

}  // namespace quern
