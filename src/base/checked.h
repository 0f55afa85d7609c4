// Sizes that come from a file or a socket: arithmetic that remembers overflow instead of wrapping.
#pragma once
#include <cstdint>
#include <utility>

#include "base/error.h"

namespace quern {

// An unsigned 64-bit size, or "overflowed" (sticky).
class Checked {
 public:
  constexpr Checked(uint64_t value) : value_(value) {}  // NOLINT(google-explicit-constructor): sizes mix freely with plain integers

  constexpr bool overflowed() const { return overflowed_; }

  // The value; throws invalid_input "<message>: overflows 64 bits" after an overflow.
  template <class... T>
  uint64_t or_throw(fmt::format_string<T...> format, T&&... args) const {
    if (overflowed_) raise(invalid_input, "{}: overflows 64 bits", fmt::format(format, std::forward<T>(args)...));
    return value_;
  }

  friend constexpr Checked operator+(Checked a, Checked b) {
    Checked r(0);
    r.overflowed_ = __builtin_add_overflow(a.value_, b.value_, &r.value_) || a.overflowed_ || b.overflowed_;
    return r;
  }
  friend constexpr Checked operator*(Checked a, Checked b) {
    Checked r(0);
    r.overflowed_ = __builtin_mul_overflow(a.value_, b.value_, &r.value_) || a.overflowed_ || b.overflowed_;
    return r;
  }
  // Rounded up to a multiple of `alignment` (> 0); the check comes before the rounding.
  constexpr Checked align_up(uint64_t alignment) const {
    const uint64_t rest = value_ % alignment;
    return rest == 0 ? *this : *this + (alignment - rest);
  }

 private:
  uint64_t value_;
  bool overflowed_ = false;
};

// Whether [offset, offset + length) lies inside `size`, without wrapping.
constexpr bool range_fits(uint64_t offset, uint64_t length, uint64_t size) { return offset <= size && length <= size - offset; }

}  // namespace quern
