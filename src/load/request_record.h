// What one request did, in seconds of monotonic_seconds(). Plain data.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace quern {

struct RequestRecord {
  bool is_ok = false;
  std::string error;
  size_t prompt_tokens = 0, output_tokens = 0;
  double start = 0;                 // when it was sent
  std::vector<double> token_times;  // when each piece of the answer came; a piece is a token, or several that came at once

  double first() const { return token_times.empty() ? start : token_times.front(); }
  double last() const { return token_times.empty() ? start : token_times.back(); }
};

}  // namespace quern
