// The 12 bytes of Q4_K and Q5_K: 6-bit scale and 6-bit minimum of 8 groups.
// Bytes 0-3: scales 0-3 in 6 bits, above them the high 2 bits of scales 4-7; bytes 4-7: the same of the minima;
// bytes 8-11: low 4 bits of scales 4-7 (low nibble) and of minima 4-7 (high nibble).
#pragma once
#include "formats/block.h"

namespace quern {

struct KScale {
  int scale, minimum;
};

constexpr KScale load_k_scale(const std::byte* bytes, size_t group) {
  if (group < 4) return {byte_of(bytes, group) & 63, byte_of(bytes, group + 4) & 63};
  const int low = byte_of(bytes, group + 4);
  return {(low & 0x0f) | byte_of(bytes, group - 4) >> 6 << 4, low >> 4 | byte_of(bytes, group) >> 6 << 4};
}

// `bytes` must be zero before the first group.
inline void store_k_scale(std::byte* bytes, size_t group, KScale value) {
  const auto put = [&](size_t i, int bits) { bytes[i] |= static_cast<std::byte>(bits); };
  if (group < 4) {
    put(group, value.scale);
    put(group + 4, value.minimum);
  } else {
    put(group + 4, (value.scale & 0x0f) | (value.minimum & 0x0f) << 4);
    put(group - 4, value.scale >> 4 << 6);
    put(group, value.minimum >> 4 << 6);
  }
}

// Chooses and writes scales and minima of 8 groups of 32 values for codes 0..`max_code`: d to bytes 0-1, dmin to bytes 2-3, then the 12
// bytes. value = (d * scale) * code - (dmin * minimum).
inline void store_k_header(const float* values, float max_code, std::byte* block) {
  float steps[8], minima[8];
  for (size_t g = 0; g < 8; ++g) {
    const Range range = range_of(values + 32 * g, 32, {0, 0});
    steps[g] = width_of(range) / max_code;
    minima[g] = -range.low;
  }
  const float d = store_f16(block, max_magnitude(steps, 8) / 63.F), dmin = store_f16(block + 2, max_magnitude(minima, 8) / 63.F);
  std::memset(block + 4, 0, 12);
  for (size_t g = 0; g < 8; ++g) {
    store_k_scale(block + 4, g,
                  {round_to_code(steps[g] * inverse_of(d), 0.F, 63.F), round_to_code(minima[g] * inverse_of(dmin), 0.F, 63.F)});
  }
}

struct KGroup {
  float scale, minimum;  // value = scale * code - minimum
};

constexpr KGroup load_k_group(const std::byte* block, size_t group) {
  const KScale bits = load_k_scale(block + 4, group);
  return {load_f16(block) * static_cast<float>(bits.scale), load_f16(block + 2) * static_cast<float>(bits.minimum)};
}

}  // namespace quern
