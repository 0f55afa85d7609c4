// What Python's str methods do to texts in a chat template. Pure functions.
#pragma once
#include <string_view>

namespace quern {

std::string_view python_stripped_right(std::string_view text);  // str.rstrip()
std::string_view python_stripped(std::string_view text);        // str.strip()

}  // namespace quern
