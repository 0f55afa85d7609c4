// The words of a rounded group from its codes, for x86-64 processors. Included by lanes_avx2.h and lanes_avx512.h; internal linkage.
#pragma once
#include <immintrin.h>

#include "backend/cpu/panel_product.h"

namespace quern::cpu {
namespace {

// Words kMinusSum to kScaledSum1 of a group from its codes and kScale. The bytes behind them, group and row, become zero.
inline void store_sums(RoundedGroup& to) {
  const __m128i ones_bytes = _mm_set1_epi8(1), ones = _mm_set1_epi16(1);
  const auto* codes = reinterpret_cast<const __m128i*>(to.codes);
  const auto quads = [&](const __m128i* p) { return _mm_madd_epi16(_mm_maddubs_epi16(ones_bytes, _mm_load_si128(p)), ones); };
  __m128i sums = _mm_hadd_epi32(quads(codes), quads(codes + 1));
  sums = _mm_hadd_epi32(sums, sums);                                                     // halves 0, 1, 0, 1
  const __m128i whole = _mm_add_epi32(sums, _mm_srli_epi64(sums, 32));                   // 0: of the group
  sums = _mm_unpacklo_epi64(_mm_unpacklo_epi32(whole, sums), _mm_srli_epi64(sums, 32));  // group, half 0, half 1, 0
  auto* words = to.words + kMinusSum;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(words), _mm_sub_epi32(_mm_setzero_si128(), sums));
  _mm_storeu_ps(words + 3, _mm_mul_ps(_mm_cvtepi32_ps(sums), _mm_set_ps(0.F, to.words[kScale], to.words[kScale], to.words[kScale])));
}

}  // namespace
}  // namespace quern::cpu
