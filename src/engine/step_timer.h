// How many prompt tokens a step may take so that it ends in time, from how long earlier steps took.
// Owned by Engine, used on its thread. Only batching depends on it, never what is computed.
#pragma once
#include <algorithm>
#include <cstddef>

namespace quern {

class StepTimer {
 public:
  explicit StepTimer(double max_step_seconds) : max_step_seconds_(max_step_seconds) {}

  // A step of `decode_rows` one-token rows and `prompt_tokens` tokens of chunks took `seconds`.
  void record(size_t decode_rows, size_t prompt_tokens, double seconds) {
    if (prompt_tokens == 0) {
      if (decode_rows > 0) smooth(decode_seconds_, seconds);
    } else {
      smooth(seconds_per_token_, std::max(seconds - decode_seconds_, seconds / 2) / static_cast<double>(prompt_tokens));
    }
  }

  size_t prefill_budget() const {
    if (seconds_per_token_ == 0 || max_step_seconds_ <= 0) return static_cast<size_t>(-1);
    const double tokens = std::max(0.0, max_step_seconds_ - decode_seconds_) / seconds_per_token_;
    return tokens > 1e9 ? static_cast<size_t>(-1) : static_cast<size_t>(tokens);
  }

 private:
  static void smooth(double& value, double sample) { value = value == 0 ? sample : 0.75 * value + 0.25 * sample; }

  double max_step_seconds_;
  double decode_seconds_ = 0, seconds_per_token_ = 0;
};

}  // namespace quern
