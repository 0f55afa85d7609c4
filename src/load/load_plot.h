// A run as one SVG picture: how the four times are distributed, and tokens and requests over the time of the run. Pure.
#pragma once
#include <span>
#include <string>

#include "load/load_metrics.h"

namespace quern {

std::string load_plot(const LoadMetrics& metrics, std::span<const RequestRecord> records, const std::string& title);

}  // namespace quern
