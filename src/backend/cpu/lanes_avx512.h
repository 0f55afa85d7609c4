// 16 lanes as one 512-bit register. Included by *_avx512.cpp files only; everything has internal linkage.
#pragma once
// GCC 12 takes the undefined operand of many intrinsics for an uninitialized variable.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "backend/cpu/group_words.h"

// Before a loop over registers: unrolled whole.
#define LANES_UNROLL _Pragma("GCC unroll 16")

namespace quern::cpu {
namespace {

struct Lanes {
  using F = __m512;                            // 16 floats
  using I = __m512i;                           // 16 ints
  using Codes = __m512i;                       // 16 lanes of 4 bytes
  static constexpr bool kSignedBytes = false;  // 8-bit codes are multiplied as unsigned, 128 added
  static constexpr size_t kFloatTile = 12, kIntegerTile = 7, kDirectTile = 4;
  static constexpr bool kTwoPanels = true;  // at a time, in the registers of a tile

  static F zero() { return _mm512_setzero_ps(); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static F all(float v) { return _mm512_set1_ps(v); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }  // b where either is NaN
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F round(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F load_f16(const std::byte* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static F load_bf16(const std::byte* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
  }
  static void load_bf16_pairs(const std::byte* p, F& even, F& odd) {  // [16][2]
    const I v = _mm512_loadu_si512(p);
    even = _mm512_castsi512_ps(_mm512_slli_epi32(v, 16));
    odd = _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
  }
  static F from_bytes(const std::byte* p) {  // 16 unsigned bytes
    return to_float(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }

  static I load_i(const std::byte* p) { return _mm512_loadu_si512(p); }
  static I all_i(int32_t v) { return _mm512_set1_epi32(v); }
  static I load_all_i(const float* p) { return _mm512_castps_si512(_mm512_set1_ps(*p)); }
  static I add_i(I a, I b) { return _mm512_add_epi32(a, b); }
  static I and_i(I a, I b) { return _mm512_and_si512(a, b); }
  static I or_i(I a, I b) { return _mm512_or_si512(a, b); }
  static I max_i(I a, I b) { return _mm512_max_epi32(a, b); }
  template <int kBits>
  static I shift_left(I a) {
    return _mm512_slli_epi32(a, kBits);
  }
  static I shift_right(I a, int bits) { return _mm512_srl_epi32(a, _mm_cvtsi32_si128(bits)); }
  static I byte_signed(I a, int byte) {  // byte 0..3 of each lane, sign-extended
    return _mm512_srai_epi32(_mm512_sll_epi32(a, _mm_cvtsi32_si128(24 - 8 * byte)), 24);
  }
  static void put_sums(RoundedGroup& to) { store_sums(to); }
  static int32_t largest_i(I a) { return _mm512_reduce_max_epi32(a); }
  static F to_float(I a) { return _mm512_cvtepi32_ps(a); }
  static I to_int(F a) { return _mm512_cvtps_epi32(a); }  // to nearest, ties to even
  static F as_float(I a) { return _mm512_castsi512_ps(a); }
  static I as_int(F a) { return _mm512_castps_si512(a); }

  static Codes load_codes(const std::byte* p) { return _mm512_loadu_si512(p); }
  static void store_codes(std::byte* p, Codes v) { _mm512_storeu_si512(p, v); }
  static Codes and_codes(Codes a, int mask) { return _mm512_and_si512(a, _mm512_set1_epi8(static_cast<char>(mask))); }
  // (a >> bits) and (a << bits), of which the caller masks off what crosses a byte.
  static Codes right_codes(Codes a, int bits) { return _mm512_srl_epi16(a, _mm_cvtsi32_si128(bits)); }
  static Codes left_codes(Codes a, int bits) { return _mm512_sll_epi16(a, _mm_cvtsi32_si128(bits)); }
  static Codes less_codes(Codes a, int value) { return _mm512_sub_epi8(a, _mm512_set1_epi8(static_cast<char>(value))); }
  static Codes or_codes(Codes a, Codes b) { return _mm512_or_si512(a, b); }
  static Codes flip_signs(Codes a) { return _mm512_xor_si512(a, _mm512_set1_epi8(static_cast<char>(0x80))); }

  // Sum over kQuads times 4 columns of code * x, per lane. Codes are 0..kMaxCode, or signed bytes where kSignedBytes.
  template <int kMaxCode, int kQuads>
  struct Dot {
    I total;
    void start(I from) { total = from; }
    void add(Codes codes, const int8_t* x, int) {
      int32_t quad;
      __builtin_memcpy(&quad, x, 4);
      total = _mm512_dpbusd_epi32(total, codes, _mm512_set1_epi32(quad));
    }
    I end() const { return total; }
  };

  // 32 values as bytes, to nearest.
  static void store_bytes(int8_t* p, F low, F high) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(to_int(low)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 16), _mm512_cvtepi32_epi8(to_int(high)));
  }
  static void prefetch(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }
  static void prefetch_far(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }
};

}  // namespace
}  // namespace quern::cpu
