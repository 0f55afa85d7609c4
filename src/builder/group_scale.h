// Scale and zero point of one group of 4-bit codes, of least weighted squared error among a fixed list. Pure functions; the same on every
// machine.
#pragma once
#include <cstddef>
#include <cstdint>

namespace quern {

struct GroupScale {
  float scale = 0;  // as f16 holds it
  int zero = 8;     // value = scale * (code - zero)
  int code(float value) const;
  float value(int code) const { return scale * static_cast<float>(code - zero); }
};

// `weights`: what a squared error of each value costs. `with_zero`: any zero point; otherwise 8.
GroupScale find_group_scale(const float* values, const float* weights, size_t count, bool with_zero);

}  // namespace quern
