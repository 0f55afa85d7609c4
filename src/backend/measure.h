// What a device can do at most, measured now: the limits that benches and the figures of a run are a share of.
#pragma once
#include "backend/backend.h"

namespace quern {

// Bytes a second that kernels can read from the device's memory.
inline double measure_read_bandwidth(Backend& backend) { return backend.runtime().measure_read_bandwidth(); }
// Operations a second, from registers, of the unit that multiplies weights of this format.
inline UnitRate measure_operations(Backend& backend, Format weights) { return backend.runtime().measure_operations(weights); }

}  // namespace quern
