// The version of this source tree; CMakeLists.txt reads it from here.
#pragma once

namespace quern {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace quern
