// What the block formats share: reading and writing the parts of a block, and rounding to a code. Values are taken as finite; a NaN or
// an infinity gives some legal code and never undefined behaviour (the builder refuses such weights by name).
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/float16.h"

namespace quern {

constexpr uint8_t byte_of(const std::byte* bytes, size_t i) { return static_cast<uint8_t>(bytes[i]); }

// Little-endian, at any alignment.
constexpr uint16_t load_u16(const std::byte* bytes) { return static_cast<uint16_t>(byte_of(bytes, 0) | byte_of(bytes, 1) << 8); }
constexpr uint32_t load_u32(const std::byte* bytes) { return load_u16(bytes) | static_cast<uint32_t>(load_u16(bytes + 2)) << 16; }
constexpr float load_f16(const std::byte* bytes) { return f16_to_f32(load_u16(bytes)); }
constexpr float load_f32(const std::byte* bytes) { return std::bit_cast<float>(load_u32(bytes)); }

// Writes `scale` as the nearest finite f16 and returns what was written: codes are chosen for the scale that a reader will see.
inline float store_f16(std::byte* bytes, float scale) {
  const F16Bits bits = f32_to_f16(std::min(std::max(scale, -65504.F), 65504.F));
  std::memcpy(bytes, &bits, sizeof(bits));
  return f16_to_f32(bits);
}

// 1 / scale, or 0 when the scale is 0: every code is then 0 too.
inline float inverse_of(float scale) { return scale != 0 ? 1.F / scale : 0.F; }

// `value` rounded to nearest, ties to even, in [low, high]; NaN gives low. |low| and |high| at most 2^21.
// Adding 1.5 * 2^23 leaves no bits for a fraction; unlike nearbyint this is inlined and vectorised on every machine.
inline int round_to_code(float value, float low, float high) {
  value = value > low ? value : low;
  value = value < high ? value : high;
  return static_cast<int>((value + 0x1.8p23F) - 0x1.8p23F);
}

inline float max_magnitude(const float* values, size_t count) {
  float most = 0;
  for (size_t i = 0; i < count; ++i) most = std::fabs(values[i]) > most ? std::fabs(values[i]) : most;
  return most;
}

// The value of largest magnitude, with its sign. A symmetric code gives it the lowest code, which has no positive twin.
inline float signed_extreme(const float* values, size_t count) {
  float extreme = 0;
  for (size_t i = 0; i < count; ++i) extreme = std::fabs(values[i]) > std::fabs(extreme) ? values[i] : extreme;
  return extreme;
}

struct Range {
  float low, high;
};

// Smallest and largest of `values` and `start`.
inline Range range_of(const float* values, size_t count, Range start) {
  for (size_t i = 0; i < count; ++i) {
    start.low = values[i] < start.low ? values[i] : start.low;
    start.high = values[i] > start.high ? values[i] : start.high;
  }
  return start;
}

inline constexpr Range kEmptyRange = {std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest()};

// high - low without overflow to infinity.
inline float width_of(Range range) { return std::min(range.high - range.low, std::numeric_limits<float>::max()); }

}  // namespace quern
