// GGUF Q3_K: 256 values in 16 groups of 16. 32 bytes of third bits, 64 bytes of 2-bit codes, 12 bytes of 6-bit scales, f16 scale.
// value = (d * (scale - 32)) * (low code - (third bit ? 0 : 4)).
// Codes: value 128 h + 32 s + l (l < 32) is bits 2 s, 2 s + 1 of code byte 32 h + l and bit 4 h + s of third-bit byte l.
// Scales: group g has its low 4 bits in byte g % 8 (high nibble when g >= 8), its high 2 bits at bit 2 (g / 4) of byte 8 + g % 4.
// Rounding error of unit normals: the extreme takes code -4: rms(max of 16) / (4 * sqrt 12) * sqrt(1 - 1/16), rms max 2.133: 0.149, and 4 %
// for clipping (1.7 % of the values) and the 6-bit scales. Measured 0.155.
#pragma once
#include "formats/block.h"
#include "formats/format.h"

namespace quern {

struct Q3_K {
  static constexpr const char* kName = "q3_k";
  static constexpr size_t kValues = 256, kBytes = 110, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      float steps[16];
      for (size_t g = 0; g < 16; ++g) steps[g] = signed_extreme(values + 16 * g, 16) / -4.F;
      std::memset(row, 0, kBytes);
      const float d = store_f16(row + 108, signed_extreme(steps, 16) / -32.F);
      for (size_t g = 0; g < 16; ++g) {
        const int scale = round_to_code(steps[g] * inverse_of(d), -32.F, 31.F);
        const auto bits = static_cast<unsigned>(scale + 32);
        row[96 + g % 8] |= static_cast<std::byte>((bits & 0x0f) << (g / 8 * 4));
        row[104 + g % 4] |= static_cast<std::byte>(bits >> 4 << (g / 4 * 2));
        const float inverse = inverse_of(d * static_cast<float>(scale));
        const size_t first = g % 2 * 16, shift = g / 2 % 4 * 2;
        for (size_t i = 0; i < 16; ++i) {
          const auto code = static_cast<unsigned>(round_to_code(values[16 * g + i] * inverse, -4.F, 3.F) + 4);  // third bit set from 4 up
          row[32 + g / 8 * 32 + first + i] |= static_cast<std::byte>((code & 3) << shift);
          row[first + i] |= static_cast<std::byte>(code >> 2 << (g / 2));
        }
      }
    }
  }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      const float d = load_f16(row + 108);
      for (size_t g = 0; g < 16; ++g) {
        const int bits = (byte_of(row, 96 + g % 8) >> (g / 8 * 4) & 0x0f) | (byte_of(row, 104 + g % 4) >> (g / 4 * 2) & 3) << 4;
        const float scale = d * static_cast<float>(bits - 32);
        const std::byte *thirds = row + g % 2 * 16, *codes = row + 32 + g / 8 * 32 + g % 2 * 16;
        for (size_t i = 0; i < 16; ++i) {
          const int code = (byte_of(codes, i) >> (g / 2 % 4 * 2) & 3) | (byte_of(thirds, i) >> (g / 2) & 1) << 2;
          values[16 * g + i] = scale * static_cast<float>(code - 4);
        }
      }
    }
  }
};

}  // namespace quern
