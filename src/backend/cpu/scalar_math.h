// Sums of the scalar rows. Every sum has one order, whatever the number of rows: 16 partial sums, value i into sum i % 16, then a tree.
// Compilers turn the 16 sums into whatever vectors the target has, without changing a bit.
#pragma once
#include <cmath>
#include <cstddef>

namespace quern::cpu {

inline constexpr size_t kSums = 16;

inline float tree_sum(float (&sums)[kSums]) {
  for (size_t width = kSums / 2; width > 0; width /= 2) {
    for (size_t i = 0; i < width; ++i) sums[i] += sums[i + width];
  }
  return sums[0];
}

inline float dot(const float* a, const float* b, size_t count) {
  float sums[kSums] = {};
  size_t i = 0;
  for (; i + kSums <= count; i += kSums) {
    for (size_t lane = 0; lane < kSums; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  for (size_t lane = 0; i + lane < count; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  return tree_sum(sums);
}

// y = x / sqrt(mean(x^2) + epsilon) * weight; y may be x.
inline void rmsnorm(const float* x, const float* weight, float epsilon, size_t count, float* y) {
  const float factor = 1.F / std::sqrt(dot(x, x, count) / static_cast<float>(count) + epsilon);
  for (size_t i = 0; i < count; ++i) y[i] = x[i] * factor * weight[i];
}

inline float silu(float x) { return x / (1.F + std::exp(-x)); }

}  // namespace quern::cpu
