// Device side of the granules layout (layouts.h): codes to f16 pairs, and single values.
#pragma once
#include "backend/cuda/layouts.h"
#include "backend/cuda/values.cuh"

namespace quern::cuda {

// Eight 4-bit codes of one word to four pairs of f16, i = 0 1, 2 3, 4 5, 6 7: code - zero exactly.
// 0x6400 + u is the f16 1024 + u. A nibble four bits higher counts 16 times: (1024 + 16 u) / 16 = 64 + u.
// `offset`: 1024 + zero in both halves; `high_offset`: -(64 + zero).
QUERN_DEVICE void unpack_u4(uint32_t word, uint32_t offset, uint32_t high_offset, uint32_t (&pairs)[4]) {
  constexpr uint32_t kLow = 0x000f000f, kHigh = 0x00f000f0, kMagic = 0x64006400, kSixteenth = 0x2c002c00;
  const uint32_t shifted = word >> 8;
  pairs[0] = half2_subtract(and_or(word, kLow, kMagic), offset);
  pairs[1] = half2_fma(and_or(word, kHigh, kMagic), kSixteenth, high_offset);
  pairs[2] = half2_subtract(and_or(shifted, kLow, kMagic), offset);
  pairs[3] = half2_fma(and_or(shifted, kHigh, kMagic), kSixteenth, high_offset);
}

// Four 8-bit codes, stored plus 128, to two pairs of f16: 0x6400 + u is 1024 + u.
QUERN_DEVICE void unpack_u8(uint32_t word, uint32_t& low, uint32_t& high) {
  constexpr uint32_t kMagic = 0x64646464, kOffset = 0x64806480;  // 1152 twice
  low = half2_subtract(permute_bytes(word, kMagic, 0x4140), kOffset);
  high = half2_subtract(permute_bytes(word, kMagic, 0x4342), kOffset);
}

// Columns first .. first + 7 (a multiple of 8) of one row.
QUERN_DEVICE void read_granule8(const GranulePart& part, size_t row, int first, float (&values)[8]) {
  const GranuleFormat f = part.format;
  const int columns = f.columns(), granule = first / columns, inside = first % columns, j = inside / 32, t = inside % 32 / 8;
  const size_t granules_per_row = static_cast<size_t>(part.columns / columns);
  const std::byte* const lane =
      part.codes + (row / 8 * granules_per_row + static_cast<size_t>(granule)) * 512 + (row % 8 * 4 + static_cast<size_t>(t)) * 16;
  float scale, zero = 0;
  if (f.group == 0) {
    scale = reinterpret_cast<const float*>(part.scales)[row];
  } else {
    const int groups = columns / f.group, width = f.has_zeros ? 2 : 1;
    const auto* entry = reinterpret_cast<const uint16_t*>(part.scales) +
                        (((row / 8 * granules_per_row + static_cast<size_t>(granule)) * 8 + row % 8) * static_cast<size_t>(groups) +
                         static_cast<size_t>(inside / f.group)) *
                            static_cast<size_t>(width);
    scale = float_from_half(entry[0]);
    if (f.has_zeros) zero = float_from_half(entry[1]) - 1024.F;
  }
  if (f.bits == 4) {
    const uint32_t word = reinterpret_cast<const uint32_t*>(lane)[j];
    for (int i = 0; i < 8; ++i) {
      const uint32_t code = word >> (4 * (i % 2 * 4 + i / 2)) & 15;
      values[i] = scale * (static_cast<float>(code) - (f.has_zeros ? zero : 8.F));
    }
  } else {
    for (int i = 0; i < 8; ++i) values[i] = scale * static_cast<float>(std::to_integer<int>(lane[8 * j + i]) - 128);
  }
}

}  // namespace quern::cuda
