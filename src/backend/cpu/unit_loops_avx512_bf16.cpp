// Multiply-adds of bf16 pairs in registers.
// GCC 12 takes the undefined operand of many intrinsics for an uninitialized variable.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include <cstddef>

namespace quern::cpu {

float bf16_rounds_avx512(size_t rounds) {
  constexpr int kChains = 12;
  __m512 sums[kChains];
  for (__m512& sum : sums) sum = _mm512_set1_ps(1.F);
  __m512i a = _mm512_set1_epi32(0x3f003f00);
  const auto b = (__m512bh)_mm512_set1_epi32(0x3d003d00);
  for (size_t round = 0; round < rounds; ++round) {
    asm volatile("" : "+v"(a));  // otherwise the product could be computed once
    for (__m512& sum : sums) sum = _mm512_dpbf16_ps(sum, (__m512bh)a, b);
  }
  __m512 total = sums[0];
  for (int i = 1; i < kChains; ++i) total = _mm512_add_ps(total, sums[i]);
  return _mm512_cvtss_f32(total);
}

}  // namespace quern::cpu
