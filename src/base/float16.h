// IEEE binary16 and bfloat16 as bit patterns, converted in software: exact widening, round-to-nearest-even narrowing.
// constexpr, so that device code may call them too.
#pragma once
#include <bit>
#include <cstdint>

namespace quern {

using F16Bits = uint16_t;
using Bf16Bits = uint16_t;

constexpr float bf16_to_f32(Bf16Bits bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

constexpr Bf16Bits f32_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<Bf16Bits>((bits >> 16) | 0x40);  // NaN stays NaN
  return static_cast<Bf16Bits>((bits + 0x7fffU + ((bits >> 16) & 1)) >> 16);
}

constexpr float f16_to_f32(F16Bits bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1f, mantissa = bits & 0x3ff;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;  // exact
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
}

constexpr F16Bits f32_to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<F16Bits>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return sign | 0x7e00;
  if (magnitude >= 0x477ff000U) return sign | 0x7c00;  // 65520 and above round to infinity
  if (magnitude < 0x38800000U) {                       // below 2^-14: adding 0.5 rounds to multiples of 2^-24
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<F16Bits>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000U));
  }
  return static_cast<F16Bits>(sign | ((magnitude - 0x38000000U + 0xfffU + ((magnitude >> 13) & 1)) >> 13));
}

}  // namespace quern
