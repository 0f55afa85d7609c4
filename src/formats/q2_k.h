// GGUF Q2_K: 256 values in 16 groups of 16. 16 bytes (low nibble: the group's scale, high nibble: its minimum), 64 bytes of 2-bit codes,
// f16 scale of the scales, f16 scale of the minima. value = (d * scale) * code - (dmin * minimum).
// Codes: value 128 h + 32 s + l (l < 32) is bits 2 s, 2 s + 1 of byte 32 h + l.
// Rounding error of unit normals: rms(width of 16) / (3 * sqrt 12) * sqrt(1 - 2/16), rms width 3.611: 0.325, and 1 % for the 4-bit scales
// and minima. Measured 0.328.
#pragma once
#include "formats/block.h"
#include "formats/format.h"

namespace quern {

struct Q2_K {
  static constexpr const char* kName = "q2_k";
  static constexpr size_t kValues = 256, kBytes = 84, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      float steps[16], minima[16];
      for (size_t g = 0; g < 16; ++g) {
        const Range range = range_of(values + 16 * g, 16, {0, 0});
        steps[g] = width_of(range) / 3.F;
        minima[g] = -range.low;
      }
      const float d = store_f16(row + 80, max_magnitude(steps, 16) / 15.F), dmin = store_f16(row + 82, max_magnitude(minima, 16) / 15.F);
      std::memset(row + 16, 0, 64);
      for (size_t g = 0; g < 16; ++g) {
        const int scale = round_to_code(steps[g] * inverse_of(d), 0.F, 15.F),
                  minimum = round_to_code(minima[g] * inverse_of(dmin), 0.F, 15.F);
        row[g] = static_cast<std::byte>(scale | (minimum << 4));
        const float inverse = inverse_of(d * static_cast<float>(scale)), shift = dmin * static_cast<float>(minimum);
        std::byte* codes = row + 16 + g / 8 * 32 + g % 2 * 16;
        for (size_t i = 0; i < 16; ++i) {
          codes[i] |= static_cast<std::byte>(round_to_code((values[16 * g + i] + shift) * inverse, 0.F, 3.F) << (g / 2 % 4 * 2));
        }
      }
    }
  }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      const float d = load_f16(row + 80), dmin = load_f16(row + 82);
      for (size_t g = 0; g < 16; ++g) {
        const float scale = d * static_cast<float>(byte_of(row, g) & 0x0f), minimum = dmin * static_cast<float>(byte_of(row, g) >> 4);
        const std::byte* codes = row + 16 + g / 8 * 32 + g % 2 * 16;
        for (size_t i = 0; i < 16; ++i) values[16 * g + i] = scale * static_cast<float>(byte_of(codes, i) >> (g / 2 % 4 * 2) & 3) - minimum;
      }
    }
  }
};

}  // namespace quern
