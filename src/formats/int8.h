// 8-bit symmetric codes. i8: a row of codes, then one f32 scale (per output channel). i8gN: per N values an f16 scale, then N codes;
// i8g32 has the bytes of GGUF's Q8_0. value = scale * code, codes in [-127, 127] (a GGUF may hold -128).
// Rounding error of unit normals: rms(max of N) / (127 * sqrt 12); rms(max) = 2.389 (32), 2.629 (64), 2.855 (128), 3.815 (4096).
// The extreme itself is exact, so times sqrt(1 - 1/N): 0.00534, 0.00593, 0.00646, 0.00867.
#pragma once
#include <cstdint>

#include "formats/block.h"
#include "formats/format.h"

namespace quern {

inline int8_t round_to_int8(float value) { return static_cast<int8_t>(round_to_code(value, -127.F, 127.F)); }

struct I8 {
  static constexpr const char* kName = "i8";
  static constexpr size_t kValues = 1, kBytes = 1, kRowTrailer = 4;
  static constexpr float kMaxScale = std::numeric_limits<float>::max() / 128.F;  // 127 times it is finite
  static void pack(const float* values, size_t count, std::byte* row) {
    const float scale = std::min(max_magnitude(values, count) / 127.F, kMaxScale);
    const float divisor = scale > 0 ? scale : 1.F;  // a division: the inverse of a denormal scale is infinite
    for (size_t i = 0; i < count; ++i) row[i] = static_cast<std::byte>(round_to_int8(values[i] / divisor));
    std::memcpy(row + count, &scale, sizeof(scale));
  }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    const float scale = load_f32(row + count);
    for (size_t i = 0; i < count; ++i) values[i] = scale * static_cast<float>(static_cast<int8_t>(row[i]));
  }
};

template <size_t N>
struct I8Group {
  static constexpr const char* kName = N == 32 ? "i8g32" : N == 64 ? "i8g64" : "i8g128";
  static constexpr size_t kValues = N, kBytes = 2 + N, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t g = 0; g < count / N; ++g, values += N, row += kBytes) {
      const float inverse = inverse_of(store_f16(row, max_magnitude(values, N) / 127.F));
      for (size_t i = 0; i < N; ++i) row[2 + i] = static_cast<std::byte>(round_to_int8(values[i] * inverse));
    }
  }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t g = 0; g < count / N; ++g, values += N, row += kBytes) {
      const float scale = load_f16(row);
      for (size_t i = 0; i < N; ++i) values[i] = scale * static_cast<float>(static_cast<int8_t>(row[2 + i]));
    }
  }
};
using I8G32 = I8Group<32>;
using I8G64 = I8Group<64>;
using I8G128 = I8Group<128>;

}  // namespace quern
