// Multiply-adds in registers and reads of memory: the AVX-512 limits that products are a share of.
// GCC 12 takes the undefined operand of many intrinsics for an uninitialized variable.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

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

float byte_rounds_avx512(size_t rounds) {
  constexpr int kChains = 12;
  __m512i sums[kChains];
  for (__m512i& sum : sums) sum = _mm512_set1_epi32(1);
  __m512i a = _mm512_set1_epi8(3);
  const __m512i b = _mm512_set1_epi8(-2);
  for (size_t round = 0; round < rounds; ++round) {
    asm volatile("" : "+v"(a));  // otherwise the product could be computed once
    for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, a, b);
  }
  __m512i total = sums[0];
  for (int i = 1; i < kChains; ++i) total = _mm512_add_epi32(total, sums[i]);
  return static_cast<float>(_mm_cvtsi128_si32(_mm512_castsi512_si128(total)));
}

uint64_t read_lines_avx512(const std::byte* data, size_t bytes) {
  constexpr size_t kLine = 64, kLines = 8, kAhead = 8192;
  __m512i sums[kLines];
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  for (size_t i = 0; i < bytes; i += kLines * kLine) {
    for (size_t line = 0; line < kLines; ++line) {
      const std::byte* p = data + i + line * kLine;
      _mm_prefetch(reinterpret_cast<const char*>(p + kAhead), _MM_HINT_T1);
      sums[line] = _mm512_xor_si512(sums[line], _mm512_loadu_si512(p));
    }
  }
  __m512i total = sums[0];
  for (size_t line = 1; line < kLines; ++line) total = _mm512_xor_si512(total, sums[line]);
  return static_cast<uint64_t>(_mm_cvtsi128_si64(_mm512_castsi512_si128(total)));
}

}  // namespace quern::cpu
