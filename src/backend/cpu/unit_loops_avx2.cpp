// Multiply-adds in registers: the AVX2 limit that products are a share of.
#include <immintrin.h>

#include <cstddef>

namespace quern::cpu {

float fma_rounds_avx2(size_t rounds) {
  constexpr int kChains = 12;  // two units, four cycles of latency: eight chains fill them
  __m256 sums[kChains];
  for (__m256& sum : sums) sum = _mm256_set1_ps(1.F);
  const __m256 a = _mm256_set1_ps(0.999F), b = _mm256_set1_ps(0.001F);
  for (size_t round = 0; round < rounds; ++round) {
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(sum, a, b);
  }
  __m256 total = sums[0];
  for (int i = 1; i < kChains; ++i) total = _mm256_add_ps(total, sums[i]);
  return _mm256_cvtss_f32(total);
}

float byte_rounds_avx2(size_t rounds) {
  constexpr int kChains = 12;
  __m256i sums[kChains];
  for (__m256i& sum : sums) sum = _mm256_set1_epi32(1);
  __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(-2), ones = _mm256_set1_epi16(1);
  for (size_t round = 0; round < rounds; ++round) {
    for (__m256i& sum : sums) {
      asm volatile("" : "+x"(a));  // otherwise the products could be computed once
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
    }
  }
  __m256i total = sums[0];
  for (int i = 1; i < kChains; ++i) total = _mm256_add_epi32(total, sums[i]);
  return static_cast<float>(_mm_cvtsi128_si32(_mm256_castsi256_si128(total)));
}

}  // namespace quern::cpu
