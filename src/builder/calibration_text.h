// The text that quantisers are calibrated on when the user names none. It lies in the program; its source is in docs/quality.md.
#pragma once
#include <string_view>

namespace quern {

std::string_view calibration_text();

}  // namespace quern
