// Multiply-adds in registers: the AVX-512 limit that products are a share of.
#include <immintrin.h>

#include <cstddef>

namespace quern::cpu {

float fma_rounds_avx512(size_t rounds) {
  constexpr int kChains = 12;  // two units, four cycles of latency: eight chains fill them
  __m512 sums[kChains];
  for (__m512& sum : sums) sum = _mm512_set1_ps(1.F);
  const __m512 a = _mm512_set1_ps(0.999F), b = _mm512_set1_ps(0.001F);
  for (size_t round = 0; round < rounds; ++round) {
    for (__m512& sum : sums) sum = _mm512_fmadd_ps(sum, a, b);
  }
  __m512 total = sums[0];
  for (int i = 1; i < kChains; ++i) total = _mm512_add_ps(total, sums[i]);
  return _mm512_cvtss_f32(total);
}

}  // namespace quern::cpu
