// Monotonic time for durations and timeouts.
#pragma once
#include <chrono>

namespace quern {

// Seconds since an arbitrary start; never goes back.
inline double monotonic_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace quern
