// f32, f16 and bf16: a value is a block.
// Rounding error of unit normals: a value in [2^k, 2^(k+1)) has a step of 2^(k-p) with p mantissa bits, so the rms is 2^-p / sqrt(12) *
// sqrt(sum of 4^k P(2^k <= |x| < 2^(k+1))) = 0.736 * 2^-p / sqrt(12): 2.07e-4 (f16, p = 10), 1.66e-3 (bf16, p = 7).
#pragma once
#include <cstring>

#include "formats/block.h"
#include "formats/format.h"

namespace quern {

struct F32 {
  static constexpr const char* kName = "f32";
  static constexpr size_t kValues = 1, kBytes = 4, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) { std::memcpy(row, values, count * kBytes); }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t i = 0; i < count; ++i) values[i] = load_f32(row + i * kBytes);
  }
};

struct F16 {
  static constexpr const char* kName = "f16";
  static constexpr size_t kValues = 1, kBytes = 2, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t i = 0; i < count; ++i) {
      const F16Bits bits = f32_to_f16(values[i]);
      std::memcpy(row + i * kBytes, &bits, kBytes);
    }
  }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t i = 0; i < count; ++i) values[i] = load_f16(row + i * kBytes);
  }
};

struct Bf16 {
  static constexpr const char* kName = "bf16";
  static constexpr size_t kValues = 1, kBytes = 2, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t i = 0; i < count; ++i) {
      const Bf16Bits bits = f32_to_bf16(values[i]);
      std::memcpy(row + i * kBytes, &bits, kBytes);
    }
  }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t i = 0; i < count; ++i) values[i] = bf16_to_f32(load_u16(row + i * kBytes));
  }
};

}  // namespace quern
