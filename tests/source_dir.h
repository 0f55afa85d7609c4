// The root of this repository: tests find their data below it.
#pragma once

#include <string>

namespace quern {

std::string source_dir();

}  // namespace quern
