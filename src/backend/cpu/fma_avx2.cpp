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

}  // namespace quern::cpu
