// 8-bit symmetric codes. i8: a row of codes, then one f32 scale (per output channel). i8gN: per N values an f16 scale, then N codes;
// i8g32 has the bytes of GGUF's Q8_0. value = scale * code, codes in [-127, 127] (a GGUF may hold -128).
// Rounding error of unit normals: rms(max of N) / (127 * sqrt 12); rms(max) = 2.389 (32), 2.629 (64), 2.855 (128), 3.815 (4096).
#pragma once
#include <cmath>
#include <cstring>

#include "base/float16.h"
#include "formats/format.h"

namespace quern {

inline float max_magnitude(const float* values, size_t count) {
  float most = 0;
  for (size_t i = 0; i < count; ++i) most = std::fmax(most, std::fabs(values[i]));
  return most;
}

inline int8_t round_to_int8(float value) { return static_cast<int8_t>(std::fmin(127.F, std::fmax(-127.F, std::nearbyint(value)))); }

struct I8 {
  static constexpr const char* kName = "i8";
  static constexpr size_t kValues = 1, kBytes = 1, kRowTrailer = 4;
  static void pack(const float* values, size_t count, std::byte* row) {
    const float scale = max_magnitude(values, count) / 127.F;
    const float inverse = scale > 0 ? 1.F / scale : 0.F;
    for (size_t i = 0; i < count; ++i) row[i] = static_cast<std::byte>(round_to_int8(values[i] * inverse));
    std::memcpy(row + count, &scale, sizeof(scale));
  }
  static void unpack(const std::byte* row, size_t count, float* values) {
    float scale;
    std::memcpy(&scale, row + count, sizeof(scale));
    for (size_t i = 0; i < count; ++i) values[i] = scale * static_cast<float>(static_cast<int8_t>(row[i]));
  }
};

template <size_t N>
struct I8Group {
  static constexpr const char* kName = N == 32 ? "i8g32" : N == 64 ? "i8g64" : "i8g128";
  static constexpr size_t kValues = N, kBytes = 2 + N, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t g = 0; g < count / N; ++g, values += N, row += kBytes) {
      const F16Bits scale = f32_to_f16(max_magnitude(values, N) / 127.F);
      std::memcpy(row, &scale, 2);
      const float inverse = f16_to_f32(scale) > 0 ? 1.F / f16_to_f32(scale) : 0.F;
      for (size_t i = 0; i < N; ++i) row[2 + i] = static_cast<std::byte>(round_to_int8(values[i] * inverse));
    }
  }
  static void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t g = 0; g < count / N; ++g, values += N, row += kBytes) {
      F16Bits scale;
      std::memcpy(&scale, row, 2);
      for (size_t i = 0; i < N; ++i) values[i] = f16_to_f32(scale) * static_cast<float>(static_cast<int8_t>(row[2 + i]));
    }
  }
};
using I8G32 = I8Group<32>;
using I8G64 = I8Group<64>;
using I8G128 = I8Group<128>;

}  // namespace quern
