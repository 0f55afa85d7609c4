// How many cores this process may use. Reads the system's files once a call; any thread.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace quern {

// Physical cores of this process's CPU affinity (hyper-threads of one core count once), cut by the cgroup's CPU quota; at least 1.
size_t usable_cores();

// The CPU quota in cores that the cgroup of a process and its ancestors leave (the smallest), or 0 for none.
// `membership` is the text of /proc/self/cgroup, `root` the folder where cgroup file systems are mounted (/sys/fs/cgroup).
double cgroup_quota(std::string_view membership, const std::string& root);

}  // namespace quern
