// Reading and writing single values of the plain formats, and the sums over a warp and a block that every kernel shares.
#pragma once
#include "backend/cuda/ptx.cuh"
#include "formats/format.h"

namespace quern::cuda {

constexpr int kWarp = 32;

QUERN_DEVICE float float_from_bfloat(uint16_t value) { return bf16_to_f32(value); }

// The nearest finite f16: real activations stay far below 65504, and a NaN stays a NaN.
QUERN_DEVICE float clamped_to_half(float value) { return value > 65504.F ? 65504.F : value < -65504.F ? -65504.F : value; }
QUERN_DEVICE uint16_t half_from(float value) { return half_from_float(clamped_to_half(value)); }
QUERN_DEVICE uint32_t half2_from(float low, float high) { return half2_from_floats(clamped_to_half(low), clamped_to_half(high)); }

// Value `i` of an array in `format`: f32, f16 or bf16.
QUERN_DEVICE float load_value(const void* values, size_t i, Format format) {
  if (format == Format::f32) return static_cast<const float*>(values)[i];
  const uint16_t bits = static_cast<const uint16_t*>(values)[i];
  return format == Format::f16 ? float_from_half(bits) : float_from_bfloat(bits);
}
QUERN_DEVICE void store_value(void* values, size_t i, Format format, float value) {
  if (format == Format::f32) {
    static_cast<float*>(values)[i] = value;
  } else {
    static_cast<uint16_t*>(values)[i] = format == Format::f16 ? half_from(value) : f32_to_bf16(value);
  }
}

QUERN_DEVICE float silu(float x) { return quotient_of(x, 1.F + expf(-x)); }

// The sum over the lanes of a warp, in every lane; one order. Lanes may come from loops of different lengths: without sync_warp() nvcc
// makes a second, divergent copy of the shuffles.
QUERN_DEVICE float warp_sum(float value) {
  sync_warp();
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}
QUERN_DEVICE float warp_max(float value) {
  sync_warp();
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value = fmaxf(value, shuffle_xor(value, mask));
  return value;
}

}  // namespace quern::cuda
