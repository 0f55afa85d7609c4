// The texts that lie in the program: what quantizers are calibrated on when the user names no text, and what a quality receipt is measured
// on. They share nothing with each other or with any evaluation text; their sources are in src/builder/data/README.md.
#pragma once
#include <string_view>

namespace quern {

std::string_view calibration_text();
std::string_view quality_text();

}  // namespace quern
