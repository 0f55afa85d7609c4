// GGUF Q6_K: 256 values in 16 groups of 16. 128 bytes of low nibbles, 64 bytes of high 2-bit parts, 16 signed byte scales, f16 scale.
// value = (d * scale) * (code - 32). Value 128 h + 32 s + l (l < 32) has its low nibble in byte 64 h + 32 (s % 2) + l (high nibble when
// s >= 2) and its high part at bit 2 s of byte 32 h + l of the second array.
// Rounding error of unit normals: the extreme takes code -32: rms(max of 16) / (32 * sqrt 12) * sqrt(1 - 1/16) = 0.0186 (rms max 2.133),
// and 1 % for clipping and the 8-bit scales. Measured 0.0188.
#pragma once
#include <cstdint>

#include "formats/block.h"
#include "formats/format.h"

namespace quern {

struct Q6_K {
  static constexpr const char* kName = "q6_k";
  static constexpr size_t kValues = 256, kBytes = 210, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      float steps[16];
      for (size_t g = 0; g < 16; ++g) steps[g] = signed_extreme(values + 16 * g, 16) / -32.F;
      std::memset(row, 0, 192);
      const float d = store_f16(row + 208, signed_extreme(steps, 16) / -128.F);
      for (size_t g = 0; g < 16; ++g) {
        const int scale = round_to_code(steps[g] * inverse_of(d), -128.F, 127.F);
        row[192 + g] = static_cast<std::byte>(scale);
        const float inverse = inverse_of(d * static_cast<float>(scale));
        std::byte *lows = row + low_part(g), *highs = row + high_part(g);
        for (size_t i = 0; i < 16; ++i) {
          const int code = round_to_code(values[16 * g + i] * inverse, -32.F, 31.F) + 32;
          lows[i] |= static_cast<std::byte>((code & 0x0f) << (g / 4 % 2 * 4));
          highs[i] |= static_cast<std::byte>(code >> 4 << (g / 2 % 4 * 2));
        }
      }
    }
  }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      const float d = load_f16(row + 208);
      for (size_t g = 0; g < 16; ++g) {
        const float scale = d * static_cast<float>(static_cast<int8_t>(row[192 + g]));
        const std::byte *lows = row + low_part(g), *highs = row + high_part(g);
        for (size_t i = 0; i < 16; ++i) {
          const int code = (byte_of(lows, i) >> (g / 4 % 2 * 4) & 0x0f) | (byte_of(highs, i) >> (g / 2 % 4 * 2) & 3) << 4;
          values[16 * g + i] = scale * static_cast<float>(code - 32);
        }
      }
    }
  }

 private:
  static constexpr size_t low_part(size_t group) { return group / 8 * 64 + group % 4 * 16; }
  static constexpr size_t high_part(size_t group) { return 128 + group / 8 * 32 + group % 2 * 16; }
};

}  // namespace quern
