// 8-bit floats (e4m3: 1 sign, 4 exponent, 3 mantissa bits, bias 7, no infinities) in groups of N (32, 128) with an f32 scale: f32 scale, N
// codes. value = scale * e4m3(code). It holds FP8 checkpoints exactly: one scale a tensor or a row is repeated, a 128x128 block's is a
// group's. f32, because their scales are f32 or bf16 of any size. Codes 0x7f and 0xff are NaN.
// Rounding error of unit normals: the error is relative, half a step of 2^-3 at most: with mantissas spread evenly in the logarithm
// 2^-3 / sqrt(12) * sqrt(3 / (8 ln 2)) = 0.0266. The largest value takes code 448 = 1.75 * 2^8, so that large values lie high in their
// binade, where a step is a smaller share: 0.0240 (32) and 0.0257 (128), integrated numerically.
#pragma once
#include <cstdint>

#include "formats/block.h"
#include "formats/format.h"

namespace quern {

// What the code means; NaN for 0x7f and 0xff.
constexpr float e4m3_to_f32(uint8_t code) {
  const uint32_t sign = static_cast<uint32_t>(code & 0x80) << 24, exponent = code >> 3 & 15, mantissa = code & 7;
  if ((code & 0x7f) == 0x7f) return std::bit_cast<float>(sign | 0x7fc00000U);
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-9F;
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 120) << 23 | mantissa << 20);
}

// The nearest code, ties to even; beyond 448 the largest finite one. NaN gives 0.
inline uint8_t f32_to_e4m3(float value) {
  const float magnitude = std::fabs(value);
  const uint8_t sign = std::signbit(value) ? 0x80 : 0;
  if (!(magnitude > 0)) return 0;
  if (magnitude >= 448.F) return sign | 0x7e;
  if (magnitude < 0x1p-6F) return static_cast<uint8_t>(sign | round_to_code(magnitude * 512.F, 0.F, 8.F));  // code 8 is 2^-6 itself
  const uint32_t bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = bits + 0x7ffffU + (bits >> 20 & 1U);
  return static_cast<uint8_t>(sign | ((rounded >> 20) - (120U << 3)));
}

template <size_t N>
struct F8Group {
  static constexpr const char* kName = N == 32 ? "f8g32" : "f8g128";
  static constexpr size_t kValues = N, kBytes = 4 + N, kRowTrailer = 0;
  static constexpr float kLargest = 448.F;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t g = 0; g < count / N; ++g, values += N, row += kBytes) {
      const float scale = std::min(max_magnitude(values, N), std::numeric_limits<float>::max()) / kLargest;
      const float divisor = scale > 0 ? scale : 1.F;  // a division: the inverse of a denormal scale is infinite
      std::memcpy(row, &scale, sizeof(scale));
      for (size_t i = 0; i < N; ++i) row[4 + i] = static_cast<std::byte>(f32_to_e4m3(values[i] / divisor));
    }
  }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t g = 0; g < count / N; ++g, values += N, row += kBytes) {
      const float scale = load_f32(row);
      for (size_t i = 0; i < N; ++i) values[i] = scale * e4m3_to_f32(byte_of(row, 4 + i));
    }
  }
};
using F8G32 = F8Group<32>;
using F8G128 = F8Group<128>;

}  // namespace quern
