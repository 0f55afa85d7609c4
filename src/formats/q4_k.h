// GGUF Q4_K: 256 values in 8 groups of 32. f16 d, f16 dmin, 12 bytes of scales and minima (k_scales.h), 128 bytes of codes.
// value = (d * scale) * code - (dmin * minimum). Code byte 32 p + l (l < 32) holds value 64 p + l (low nibble) and 64 p + 32 + l (high).
// Rounding error of unit normals: rms(width of 32) / (15 * sqrt 12) * sqrt(1 - 2/32) = 0.0782 (rms width 4.195); the 6-bit scales add
// little. Measured 0.0784.
#pragma once
#include "formats/format.h"
#include "formats/k_scales.h"

namespace quern {

struct Q4_K {
  static constexpr const char* kName = "q4_k";
  static constexpr size_t kValues = 256, kBytes = 144, kRowTrailer = 0;
  static void pack(const float* values, size_t count, std::byte* row) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      store_k_header(values, 15.F, row);
      std::memset(row + 16, 0, 128);
      for (size_t g = 0; g < 8; ++g) {
        const KGroup group = load_k_group(row, g);
        const float inverse = inverse_of(group.scale);
        std::byte* codes = row + 16 + g / 2 * 32;
        for (size_t i = 0; i < 32; ++i) {
          codes[i] |= static_cast<std::byte>(round_to_code((values[32 * g + i] + group.minimum) * inverse, 0.F, 15.F) << (g % 2 * 4));
        }
      }
    }
  }
  static constexpr void unpack(const std::byte* row, size_t count, float* values) {
    for (size_t b = 0; b < count / kValues; ++b, values += kValues, row += kBytes) {
      for (size_t g = 0; g < 8; ++g) {
        const KGroup group = load_k_group(row, g);
        const std::byte* codes = row + 16 + g / 2 * 32;
        for (size_t i = 0; i < 32; ++i) {
          values[32 * g + i] = group.scale * static_cast<float>(byte_of(codes, i) >> (g % 2 * 4) & 0x0f) - group.minimum;
        }
      }
    }
  }
};

}  // namespace quern
