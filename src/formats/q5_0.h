// GGUF Q5_0: 32 values. f16 scale, u32 of fifth bits (bit i is value i's), 16 bytes of low nibbles: byte j holds value j and j + 16.
// value = scale * (code - 16).
// Rounding error of unit normals: a step is max / 16 and the extreme is exact: 2.389 / (16 * sqrt 12) * sqrt(1 - 1/32) = 0.0424, and some
// clipping on the other side. Measured 0.0427.
#pragma once
#include <cstdint>

#include "formats/block.h"
#include "formats/format.h"

namespace quern {

struct Q5_0 {
  static constexpr const char* kName = "q5_0";
  static constexpr size_t kValues = 32, kBytes = 22, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      const float inverse = inverse_of(store_f16(row, signed_extreme(values, kValues) / -16.F));
      uint32_t fifth = 0;
      for (uint32_t j = 0; j < 16; ++j) {
        const auto low = static_cast<uint32_t>(round_to_code(values[j] * inverse + 16.F, 0.F, 31.F));
        const auto high = static_cast<uint32_t>(round_to_code(values[j + 16] * inverse + 16.F, 0.F, 31.F));
        row[6 + j] = static_cast<std::byte>((low & 0x0f) | ((high & 0x0f) << 4));
        fifth |= (low >> 4) << j | (high >> 4) << (j + 16);
      }
      std::memcpy(row + 2, &fifth, sizeof(fifth));
    }
  }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      const float scale = load_f16(row);
      const uint32_t fifth = load_u32(row + 2);
      for (uint32_t j = 0; j < 16; ++j) {
        const uint32_t byte = byte_of(row, 6 + j);
        const auto low = static_cast<int>((byte & 0x0f) | (fifth >> j & 1) << 4),
                   high = static_cast<int>(byte >> 4 | (fifth >> (j + 16) & 1) << 4);
        values[j] = scale * static_cast<float>(low - 16);
        values[j + 16] = scale * static_cast<float>(high - 16);
      }
    }
  }
};

}  // namespace quern
