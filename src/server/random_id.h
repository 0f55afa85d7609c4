// Names for requests, answers and tool calls.
#pragma once
#include <string>

namespace quern {

// 32 random hexadecimal digits. Any thread.
std::string random_id();

}  // namespace quern
