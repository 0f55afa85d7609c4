// The numbers of random sampling, the same on every device: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011) keyed by the row's seed and counted by position and token id, so that a draw depends on nothing else. No library functions,
// so that every processor gives the same bits. constexpr, so that device code may call it.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>

namespace quern {

struct PhiloxWords {
  uint32_t word[4];
};

// Word i belongs to token 4 * group + i.
constexpr PhiloxWords sample_words(uint64_t seed, uint32_t position, uint32_t group) {
  uint32_t c0 = group, c1 = position, c2 = 0, c3 = 0;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0, p1 = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9, k1 += 0xBB67AE85;
  }
  return {{c0, c1, c2, c3}};
}

constexpr uint32_t sample_word(uint64_t seed, int32_t position, int32_t token) {
  return sample_words(seed, static_cast<uint32_t>(position), static_cast<uint32_t>(token) / 4).word[token % 4];
}

// A word as a number in (0, 1), exact.
constexpr double unit_interval(uint32_t word) { return (static_cast<double>(word) + 0.5) * 0x1p-32; }

// log of a number in (0, 1]; relative error below 1e-13. x = 2^e * m with m in [sqrt(1/2), sqrt(2)); log m = 2 artanh((m-1)/(m+1)).
constexpr double portable_log(double x) {
  const auto bits = std::bit_cast<uint64_t>(x);
  int64_t exponent = static_cast<int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL);
  if (m > 1.4142135623730951) m *= 0.5, ++exponent;
  const double s = (m - 1) / (m + 1), q = s * s;
  double sum = 1.0 / 17;
  for (int odd = 15; odd >= 1; odd -= 2) sum = sum * q + 1.0 / odd;
  return static_cast<double>(exponent) * 0.6931471805599453 + 2 * s * sum;
}

// Standard exponential variable of a word. Never less than unit_interval(word): -log(1 - y) >= y.
constexpr double exponential(uint32_t word) { return -portable_log(1 - unit_interval(word)); }

// exp(x) for x <= 0, relative error below 2e-7; 0 below -87. Cephes' polynomial over [-ln2/2, ln2/2]. Without a branch or a conversion
// that may overflow, so that loops are vectorised; what the steps make of x < -87 is masked away.
constexpr float portable_exp(float x) {
  constexpr float kShift = 12582912.F;  // 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits
  const float shifted = x * 1.44269504F + kShift;
  const float n = shifted - kShift;
  const float r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + r + 1.F;
  const uint32_t power = (std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kShift) + 127) << 23;
  const uint32_t kept = uint32_t{0} - static_cast<uint32_t>(x >= -87.F);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p * std::bit_cast<float>(power)) & kept);
}

// The weight of a logit beside the largest one; `inverse_temperature` = 1 / temperature in f32.
constexpr float sample_weight(float logit, float largest, float inverse_temperature) {
  return portable_exp((logit - largest) * inverse_temperature);
}

// Logits as integers in their order; -0 and +0 are one value.
constexpr uint32_t order_key(float logit) {
  const auto bits = std::bit_cast<uint32_t>(logit + 0.F);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}

}  // namespace quern
