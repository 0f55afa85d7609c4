// GGUF Q5_1: 32 values. f16 scale, f16 minimum, u32 of fifth bits (bit i is value i's), 16 bytes of low nibbles: byte j holds value j and
// j + 16. value = scale * code + minimum.
// Rounding error of unit normals: as Q4_1 with 31 steps: 0.0378. Measured 0.0378.
#pragma once
#include <cstdint>

#include "formats/block.h"
#include "formats/format.h"

namespace quern {

struct Q5_1 {
  static constexpr const char* kName = "q5_1";
  static constexpr size_t kValues = 32, kBytes = 24, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      const Range range = range_of(values, kValues, kEmptyRange);
      const float inverse = inverse_of(store_f16(row, width_of(range) / 31.F)), minimum = store_f16(row + 2, range.low);
      uint32_t fifth = 0;
      for (uint32_t j = 0; j < 16; ++j) {
        const auto low = static_cast<uint32_t>(round_to_code((values[j] - minimum) * inverse, 0.F, 31.F));
        const auto high = static_cast<uint32_t>(round_to_code((values[j + 16] - minimum) * inverse, 0.F, 31.F));
        row[8 + j] = static_cast<std::byte>((low & 0x0f) | ((high & 0x0f) << 4));
        fifth |= (low >> 4) << j | (high >> 4) << (j + 16);
      }
      std::memcpy(row + 4, &fifth, sizeof(fifth));
    }
  }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      const float scale = load_f16(row), minimum = load_f16(row + 2);
      const uint32_t fifth = load_u32(row + 4);
      for (uint32_t j = 0; j < 16; ++j) {
        const uint32_t byte = byte_of(row, 8 + j);
        values[j] = scale * static_cast<float>((byte & 0x0f) | (fifth >> j & 1) << 4) + minimum;
        values[j + 16] = scale * static_cast<float>(byte >> 4 | (fifth >> (j + 16) & 1) << 4) + minimum;
      }
    }
  }
};

}  // namespace quern
