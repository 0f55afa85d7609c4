// GGUF Q5_K: 256 values in 8 groups of 32. f16 d, f16 dmin, 12 bytes of scales and minima (k_scales.h), 32 bytes of fifth bits, 128 bytes
// of low nibbles. value = (d * scale) * code - (dmin * minimum). Nibbles as in Q4_K; bit g of fifth-bit byte l is value 32 g + l's.
// Rounding error of unit normals: as Q4_K with 31 steps: 0.0378, and 1 % for the 6-bit scales. Measured 0.0382.
#pragma once
#include "formats/format.h"
#include "formats/k_scales.h"

namespace quern {

struct Q5_K {
  static constexpr const char* kName = "q5_k";
  static constexpr size_t kValues = 256, kBytes = 176, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      store_k_header(values, 31.F, row);
      std::memset(row + 16, 0, 160);
      for (size_t g = 0; g < 8; ++g) {
        const KGroup group = load_k_group(row, g);
        const float inverse = inverse_of(group.scale);
        std::byte *fifths = row + 16, *codes = row + 48 + g / 2 * 32;
        for (size_t i = 0; i < 32; ++i) {
          const int code = round_to_code((values[32 * g + i] + group.minimum) * inverse, 0.F, 31.F);
          codes[i] |= static_cast<std::byte>((code & 0x0f) << (g % 2 * 4));
          fifths[i] |= static_cast<std::byte>(code >> 4 << g);
        }
      }
    }
  }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      for (size_t g = 0; g < 8; ++g) {
        const KGroup group = load_k_group(row, g);
        const std::byte *fifths = row + 16, *codes = row + 48 + g / 2 * 32;
        for (size_t i = 0; i < 32; ++i) {
          const int code = (byte_of(codes, i) >> (g % 2 * 4) & 0x0f) | (byte_of(fifths, i) >> g & 1) << 4;
          values[32 * g + i] = group.scale * static_cast<float>(code) - group.minimum;
        }
      }
    }
  }
};

}  // namespace quern
