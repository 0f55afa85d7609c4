// 16 lanes as two 256-bit registers. Included by *_avx2.cpp files only; everything has internal linkage.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "backend/cpu/group_words.h"

// Before a loop over registers: unrolled whole.
#define LANES_UNROLL _Pragma("GCC unroll 16")

namespace quern::cpu {
namespace {

struct Lanes {
  struct F {  // lanes 0-7, 8-15
    __m256 a, b;
  };
  struct I {
    __m256i a, b;
  };
  using Codes = I;
  static constexpr bool kSignedBytes = true;  // vpmaddubsw saturates with codes beyond 7 bits: 8-bit codes go through their magnitude
  static constexpr size_t kFloatTile = 3, kIntegerTile = 4, kDirectTile = 2;
  static constexpr bool kTwoPanels = false;  // at a time, in the registers of a tile

  static F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v.a), _mm256_storeu_ps(p + 8, v.b); }
  static F all(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
  static F fma(F x, F y, F z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
  static F add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
  static F sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
  static F mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
  static F div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
  static F max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
  static F min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
  static F round(F x) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(x.a, kNearest), _mm256_round_ps(x.b, kNearest)};
  }
  static F load_f16(const std::byte* p) {
    const auto* halves = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
  }
  static F load_bf16(const std::byte* p) {
    const auto* halves = reinterpret_cast<const __m128i*>(p);
    const I v = {_mm256_cvtepu16_epi32(_mm_loadu_si128(halves)), _mm256_cvtepu16_epi32(_mm_loadu_si128(halves + 1))};
    return as_float(shift_left<16>(v));
  }
  static void load_bf16_pairs(const std::byte* p, F& even, F& odd) {  // [16][2]
    const I v = load_i(p);
    even = as_float(shift_left<16>(v));
    odd = as_float(and_i(v, all_i(static_cast<int32_t>(0xffff0000U))));
  }
  static F from_bytes(const std::byte* p) {  // 16 unsigned bytes
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return to_float({_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))});
  }

  static I load_i(const std::byte* p) {
    const auto* v = reinterpret_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1)};
  }
  static I all_i(int32_t v) { return {_mm256_set1_epi32(v), _mm256_set1_epi32(v)}; }
  static I load_all_i(const float* p) { return as_int(all(*p)); }
  static I add_i(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
  static I and_i(I x, I y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
  static I or_i(I x, I y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
  static I max_i(I x, I y) { return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)}; }
  template <int kBits>
  static I shift_left(I x) {
    return {_mm256_slli_epi32(x.a, kBits), _mm256_slli_epi32(x.b, kBits)};
  }
  static I shift_right(I x, int bits) {
    const __m128i count = _mm_cvtsi32_si128(bits);
    return {_mm256_srl_epi32(x.a, count), _mm256_srl_epi32(x.b, count)};
  }
  static I byte_signed(I x, int byte) {  // byte 0..3 of each lane, sign-extended
    const __m128i count = _mm_cvtsi32_si128(24 - 8 * byte);
    return {_mm256_srai_epi32(_mm256_sll_epi32(x.a, count), 24), _mm256_srai_epi32(_mm256_sll_epi32(x.b, count), 24)};
  }
  static void put_sums(RoundedGroup& to) { store_sums(to); }
  static int32_t largest_i(I x) {
    const __m256i half = _mm256_max_epi32(x.a, x.b);
    __m128i most = _mm_max_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(most, _mm_shuffle_epi32(most, 0xb1)));
  }
  static F to_float(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
  static I to_int(F x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }  // to nearest, ties to even
  static F as_float(I x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
  static I as_int(F x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }

  static Codes load_codes(const std::byte* p) { return load_i(p); }
  static void store_codes(std::byte* p, Codes v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v.a);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p) + 1, v.b);
  }
  static Codes and_codes(Codes x, int mask) {
    const __m256i all = _mm256_set1_epi8(static_cast<char>(mask));
    return {_mm256_and_si256(x.a, all), _mm256_and_si256(x.b, all)};
  }
  // (x >> bits) and (x << bits), of which the caller masks off what crosses a byte.
  static Codes right_codes(Codes x, int bits) {
    const __m128i count = _mm_cvtsi32_si128(bits);
    return {_mm256_srl_epi16(x.a, count), _mm256_srl_epi16(x.b, count)};
  }
  static Codes left_codes(Codes x, int bits) {
    const __m128i count = _mm_cvtsi32_si128(bits);
    return {_mm256_sll_epi16(x.a, count), _mm256_sll_epi16(x.b, count)};
  }
  static Codes or_codes(Codes x, Codes y) { return or_i(x, y); }
  static Codes flip_signs(Codes x) { return x; }

  // Sum over kQuads times 4 columns of code * x, per lane. Codes are 0..kMaxCode, or signed bytes when kMaxCode is 255.
  // |x| <= 127, so a pair of products is at most 2 * kMaxCode * 127 (signed: 2 * 128 * 127 = 32512) and kRun of them fit 16 bits.
  template <int kMaxCode, int kQuads>
  struct Dot {
    static constexpr int kFit = kMaxCode == 255 ? 1 : kMaxCode > 31 ? 2 : kMaxCode > 15 ? 4 : 8;
    static constexpr int kRun = kFit < kQuads ? kFit : kQuads;
    static_assert(kMaxCode == 255 || kRun * 2 * kMaxCode * 127 <= 32767);
    I total;
    __m256i pairs_a, pairs_b;
    void start(I from) { total = from; }
    // index: 0, 1, ... kQuads - 1.
    void add(Codes codes, const int8_t* x, int index) {
      int32_t quad;
      __builtin_memcpy(&quad, x, 4);
      const __m256i v = _mm256_set1_epi32(quad);
      __m256i a, b;
      if constexpr (kMaxCode == 255) {
        a = _mm256_maddubs_epi16(_mm256_abs_epi8(codes.a), _mm256_sign_epi8(v, codes.a));
        b = _mm256_maddubs_epi16(_mm256_abs_epi8(codes.b), _mm256_sign_epi8(v, codes.b));
      } else {
        a = _mm256_maddubs_epi16(codes.a, v);
        b = _mm256_maddubs_epi16(codes.b, v);
      }
      pairs_a = index % kRun == 0 ? a : _mm256_add_epi16(pairs_a, a);
      pairs_b = index % kRun == 0 ? b : _mm256_add_epi16(pairs_b, b);
      if (index % kRun == kRun - 1) flush();
    }
    void flush() {
      const __m256i ones = _mm256_set1_epi16(1);
      total.a = _mm256_add_epi32(total.a, _mm256_madd_epi16(pairs_a, ones));
      total.b = _mm256_add_epi32(total.b, _mm256_madd_epi16(pairs_b, ones));
    }
    I end() const { return total; }
  };

  // 32 values as bytes, to nearest.
  static void store_bytes(int8_t* p, F low, F high) {
    const I x = to_int(low), y = to_int(high);
    const __m256i words_x = _mm256_packs_epi32(x.a, x.b), words_y = _mm256_packs_epi32(y.a, y.b);  // quads of lanes out of order
    const __m256i bytes = _mm256_packs_epi16(words_x, words_y);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
  }
  static void prefetch(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }
  static void prefetch_far(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }
};

}  // namespace
}  // namespace quern::cpu
