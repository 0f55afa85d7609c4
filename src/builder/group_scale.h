// Scale and zero point of one group of codes, of least weighted squared error among a fixed list. Pure functions; the same on every
// machine.
#pragma once
#include <cstddef>
#include <cstdint>

namespace quern {

struct GroupScale {
  float scale = 0;          // as f16 holds it
  int zero = 8, most = 15;  // value = scale * (code - zero), code 0 to `most`
  int code(float value) const;
  float value(int code) const { return scale * static_cast<float>(code - zero); }
};

// `weights`: what a squared error of each value costs. `bits`: of a code, 4, 5 or 8. `with_zero`: any zero point; otherwise the middle.
GroupScale find_group_scale(const float* values, const float* weights, size_t count, int bits, bool with_zero);

}  // namespace quern
