// What rounding did to a tensor. Plain data.
#pragma once
#include <cmath>

namespace quern {

// Powers of the values and of what rounding changed, in double.
struct RoundingError {
  double error = 0, value = 0;
  void add(const RoundingError& other) { error += other.error, value += other.value; }
  void add(float wanted, float stored) {
    const double off = static_cast<double>(wanted) - stored;
    error += off * off;
    value += static_cast<double>(wanted) * wanted;
  }
  // Root mean square of the changes as share of the values'.
  double relative() const { return value > 0 ? std::sqrt(error / value) : 0; }
};

}  // namespace quern
