// 4-bit codes in groups of N (32, 64, 128). Inside each 32 values byte j holds value j (low nibble) and j + 16 (high nibble).
// i4gN:  f16 scale, N/2 bytes of codes. value = scale * (code - 8). i4g32 has the bytes of GGUF's Q4_0.
// i4gNz: f16 scale, u8 zero (0..15), N/2 bytes of codes. value = scale * (code - zero): GPTQ's and AWQ's rule.
// Rounding error of unit normals. Symmetric: the extreme takes code 0 and is exact, a step is max / 8: rms(max of N) / (8 * sqrt 12) *
// sqrt(1 - 1/N) = 0.0848 (32), 0.0941 (64), 0.1027 (128), and 1 % for the values beyond code 15 on the other side (0.5 % of them at 32).
// Asymmetric: (high - low) / 15 a step, both ends nearly exact: rms(width of N) / (15 * sqrt 12) * sqrt(1 - 2/N) = 0.0782, 0.0896, 0.0998
// (rms width 4.195, 4.730, 5.227), and 1 to 3 % because the zero point is a whole code. Measured 0.0859, 0.0949, 0.1032; 0.0808, 0.0911,
// 0.1006.
#pragma once
#include <cstdint>

#include "formats/block.h"
#include "formats/format.h"

namespace quern {

constexpr uint8_t int4_code(const std::byte* codes, size_t i) {
  const uint8_t byte = byte_of(codes, i / 32 * 16 + i % 16);
  return i % 32 < 16 ? byte & 0x0f : byte >> 4;
}

inline void set_int4_code(std::byte* codes, size_t i, uint8_t code) {
  std::byte& byte = codes[i / 32 * 16 + i % 16];
  byte = i % 32 < 16 ? (byte & std::byte{0xf0}) | std::byte{code} : (byte & std::byte{0x0f}) | std::byte(code << 4);
}

// `count` codes (a multiple of 32) for values[i] * inverse + zero, and back.
inline void pack_nibbles(const float* values, size_t count, float inverse, float zero, std::byte* codes) {
  for (size_t c = 0; c < count / 32; ++c, values += 32, codes += 16) {
    for (size_t j = 0; j < 16; ++j) {
      const int low = round_to_code(values[j] * inverse + zero, 0.F, 15.F),
                high = round_to_code(values[j + 16] * inverse + zero, 0.F, 15.F);
      codes[j] = static_cast<std::byte>(low | (high << 4));
    }
  }
}

constexpr void unpack_nibbles(const std::byte* codes, size_t count, float scale, int zero, float* values) {
  for (size_t c = 0; c < count / 32; ++c, values += 32, codes += 16) {
    for (size_t j = 0; j < 16; ++j) {
      values[j] = scale * static_cast<float>((byte_of(codes, j) & 0x0f) - zero);
      values[j + 16] = scale * static_cast<float>((byte_of(codes, j) >> 4) - zero);
    }
  }
}

template <size_t N>
struct I4Group {
  static constexpr const char* kName = N == 32 ? "i4g32" : N == 64 ? "i4g64" : "i4g128";
  static constexpr size_t kValues = N, kBytes = 2 + N / 2, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t g = 0; g < count / N; ++g, values += N, row += kBytes) {
      const float scale = store_f16(row, signed_extreme(values, N) / -8.F);  // the extreme takes code 0
      pack_nibbles(values, N, inverse_of(scale), 8.F, row + 2);
    }
  }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t g = 0; g < count / N; ++g, values += N, row += kBytes) unpack_nibbles(row + 2, N, load_f16(row), 8, values);
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
      const Range range = range_of(values, N, {0, 0});  // zero itself always has a code
      const float inverse = inverse_of(store_f16(row, width_of(range) / 15.F));
      const int zero = round_to_code(-range.low * inverse, 0.F, 15.F);
      row[2] = static_cast<std::byte>(zero);
      pack_nibbles(values, N, inverse, static_cast<float>(zero), row + 3);
    }
  }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t g = 0; g < count / N; ++g, values += N, row += kBytes) unpack_nibbles(row + 3, N, load_f16(row), byte_of(row, 2), values);
  }
};
using I4G32Z = I4ZeroGroup<32>;
using I4G64Z = I4ZeroGroup<64>;
using I4G128Z = I4ZeroGroup<128>;

}  // namespace quern
