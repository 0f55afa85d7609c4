// What a device can do at most, measured now: the limits that benches and the figures of a run are a share of.
#pragma once
#include "backend/backend.h"

namespace quern {

// Bytes a second that kernels can read from the device's memory.
inline double measure_read_bandwidth(Backend& backend) { return backend.runtime().measure_read_bandwidth(); }
// f32 operations a second (a multiply-add is two) of the device's vector units, from registers.
inline double measure_operations(Backend& backend) { return backend.runtime().measure_operations(); }

}  // namespace quern
