// 4-bit codes in groups of N (32, 64, 128). Inside each 32 values byte j holds value j (low nibble) and j + 16 (high nibble).
// i4gN:  f16 scale, N/2 bytes of codes. value = scale * (code - 8). i4g32 has the bytes of GGUF's Q4_0.
// i4gNz: f16 scale, u8 zero (0..15), N/2 bytes of codes. value = scale * (code - zero): GPTQ's and AWQ's rule.
// Rounding error of unit normals, symmetric: the extreme value takes code 0, so a step is max / 8 and values beyond code 15 on the other
// side are clipped: rms(max of N) / (8 * sqrt 12) = 0.086 (32), 0.095 (64), 0.103 (128) plus the clipping.
// Asymmetric: (max - min) / 15 a step: 2 * E(max) / (15 * sqrt 12) = 0.080, 0.091, 0.102 (E(max) = 2.07, 2.36, 2.64 one-sided).
#pragma once
#include <cmath>
#include <cstring>

#include "base/float16.h"
#include "formats/format.h"

namespace quern {

inline uint8_t int4_code(const std::byte* codes, size_t i) {
  const auto byte = static_cast<uint8_t>(codes[i / 32 * 16 + i % 16]);
  return i % 32 < 16 ? byte & 0x0f : byte >> 4;
}

inline void set_int4_code(std::byte* codes, size_t i, uint8_t code) {
  std::byte& byte = codes[i / 32 * 16 + i % 16];
  byte = i % 32 < 16 ? (byte & std::byte{0xf0}) | std::byte{code} : (byte & std::byte{0x0f}) | std::byte(code << 4);
}

template <size_t N>
struct I4Group {
  static constexpr const char* kName = N == 32 ? "i4g32" : N == 64 ? "i4g64" : "i4g128";
  static constexpr size_t kValues = N, kBytes = 2 + N / 2, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t g = 0; g < count / N; ++g, values += N, row += kBytes) {
      float extreme = 0;  // signed; it takes code 0
      for (size_t i = 0; i < N; ++i) {
        if (std::fabs(values[i]) > std::fabs(extreme)) extreme = values[i];
      }
      const F16Bits bits = f32_to_f16(extreme / -8.F);
      std::memcpy(row, &bits, 2);
      const float scale = f16_to_f32(bits), inverse = scale != 0 ? 1.F / scale : 0.F;
      for (size_t i = 0; i < N; ++i) {
        const float code = std::fmin(15.F, std::fmax(0.F, std::nearbyint(values[i] * inverse) + 8.F));
        set_int4_code(row + 2, i, static_cast<uint8_t>(code));
      }
    }
  }
  static void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t g = 0; g < count / N; ++g, values += N, row += kBytes) {
      F16Bits bits;
      std::memcpy(&bits, row, 2);
      for (size_t i = 0; i < N; ++i) values[i] = f16_to_f32(bits) * static_cast<float>(int4_code(row + 2, i) - 8);
    }
  }
};
using I4G32 = I4Group<32>;
using I4G64 = I4Group<64>;
using I4G128 = I4Group<128>;

template <size_t N>
struct I4ZeroGroup {
  static constexpr const char* kName = N == 32 ? "i4g32z" : N == 64 ? "i4g64z" : "i4g128z";
  static constexpr size_t kValues = N, kBytes = 3 + N / 2, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t g = 0; g < count / N; ++g, values += N, row += kBytes) {
      float low = 0, high = 0;  // zero itself always has a code
      for (size_t i = 0; i < N; ++i) low = std::fmin(low, values[i]), high = std::fmax(high, values[i]);
      const F16Bits bits = f32_to_f16((high - low) / 15.F);
      std::memcpy(row, &bits, 2);
      const float scale = f16_to_f32(bits), inverse = scale > 0 ? 1.F / scale : 0.F;
      const float zero = std::fmin(15.F, std::nearbyint(-low * inverse));
      row[2] = static_cast<std::byte>(zero);
      for (size_t i = 0; i < N; ++i) {
        const float code = std::fmin(15.F, std::fmax(0.F, std::nearbyint(values[i] * inverse) + zero));
        set_int4_code(row + 3, i, static_cast<uint8_t>(code));
      }
    }
  }
  static void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t g = 0; g < count / N; ++g, values += N, row += kBytes) {
      F16Bits bits;
      std::memcpy(&bits, row, 2);
      const int zero = static_cast<uint8_t>(row[2]);
      for (size_t i = 0; i < N; ++i) values[i] = f16_to_f32(bits) * static_cast<float>(int4_code(row + 3, i) - zero);
    }
  }
};
using I4G32Z = I4ZeroGroup<32>;
using I4G64Z = I4ZeroGroup<64>;
using I4G128Z = I4ZeroGroup<128>;

}  // namespace quern
