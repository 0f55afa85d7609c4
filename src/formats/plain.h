// f32, f16 and bf16: a value is a block. Rounding error of a unit normal: rms of the rounding step, 2^-p / sqrt(12) * E[2^(2*floor(log2|x|))]^(1/2)
// with p mantissa bits: 0.6 * 2^-10 / sqrt(12) = 1.7e-4 (f16), 0.6 * 2^-7 / sqrt(12) = 1.4e-3 (bf16).
#pragma once
#include <cstring>

#include "base/float16.h"
#include "formats/format.h"

namespace quern {

struct F32 {
  static constexpr const char* kName = "f32";
  static constexpr size_t kValues = 1, kBytes = 4, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) { std::memcpy(row, values, count * kBytes); }
  static void unpack(const std::byte* row, size_t count, float* values) { std::memcpy(values, row, count * kBytes); }
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
  static void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t i = 0; i < count; ++i) {
      F16Bits bits;
      std::memcpy(&bits, row + i * kBytes, kBytes);
      values[i] = f16_to_f32(bits);
    }
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
  static void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t i = 0; i < count; ++i) {
      Bf16Bits bits;
      std::memcpy(&bits, row + i * kBytes, kBytes);
      values[i] = bf16_to_f32(bits);
    }
  }
};

}  // namespace quern
