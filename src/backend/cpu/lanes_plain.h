// 16 lanes in plain C++: the twin that the vector lanes are checked against bit by bit, and what other architectures run.
#pragma once
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <type_traits>

#include "backend/cpu/panel_product.h"
#include "base/float16.h"

// Before a loop over registers: nothing to unroll.
#define LANES_UNROLL

namespace quern::cpu {
namespace {

struct Lanes {
  struct F {
    float v[16];
  };
  struct I {
    int32_t v[16];
  };
  struct Codes {
    uint8_t v[64];
  };
  static constexpr bool kSignedBytes = true;
  static constexpr size_t kFloatTile = 4, kIntegerTile = 4, kDirectTile = 2;
  static constexpr bool kTwoPanels = false;  // at a time, in the registers of a tile

  template <class R = F, class Body>
  static R each(const Body& body) {
    R r;
    // NOLINTNEXTLINE(bugprone-signed-char-misuse): bytes of int8 weights are numbers
    for (size_t i = 0; i < std::size(r.v); ++i) r.v[i] = static_cast<std::remove_reference_t<decltype(r.v[0])>>(body(i));
    return r;
  }
  static F zero() { return all(0); }
  static F load(const float* p) {
    return each([&](size_t i) { return p[i]; });
  }
  static void store(float* p, F x) { std::memcpy(p, x.v, sizeof(x.v)); }
  static F all(float x) {
    return each([&](size_t) { return x; });
  }
  static F fma(F x, F y, F z) {
    return each([&](size_t i) { return std::fma(x.v[i], y.v[i], z.v[i]); });
  }
  static F add(F x, F y) {
    return each([&](size_t i) { return x.v[i] + y.v[i]; });
  }
  static F sub(F x, F y) {
    return each([&](size_t i) { return x.v[i] - y.v[i]; });
  }
  static F mul(F x, F y) {
    return each([&](size_t i) { return x.v[i] * y.v[i]; });
  }
  static F div(F x, F y) {
    return each([&](size_t i) { return x.v[i] / y.v[i]; });
  }
  static F max(F x, F y) {
    return each([&](size_t i) { return x.v[i] > y.v[i] ? x.v[i] : y.v[i]; });
  }  // y where either is NaN
  static F min(F x, F y) {
    return each([&](size_t i) { return x.v[i] < y.v[i] ? x.v[i] : y.v[i]; });
  }
  static F round(F x) {
    return each([&](size_t i) { return std::nearbyint(x.v[i]); });
  }
  static F load_f16(const std::byte* p) {
    F16Bits bits[16];
    std::memcpy(bits, p, sizeof(bits));
    return each([&](size_t i) { return f16_to_f32(bits[i]); });
  }
  static F load_bf16(const std::byte* p) {
    Bf16Bits bits[16];
    std::memcpy(bits, p, sizeof(bits));
    return each([&](size_t i) { return bf16_to_f32(bits[i]); });
  }
  static void load_bf16_pairs(const std::byte* p, F& even, F& odd) {  // [16][2]
    Bf16Bits bits[32];
    std::memcpy(bits, p, sizeof(bits));
    even = each([&](size_t i) { return bf16_to_f32(bits[2 * i]); });
    odd = each([&](size_t i) { return bf16_to_f32(bits[2 * i + 1]); });
  }
  static F from_bytes(const std::byte* p) {  // 16 unsigned bytes
    return each([&](size_t i) { return static_cast<float>(static_cast<uint8_t>(p[i])); });
  }

  static I load_i(const std::byte* p) {
    I x;
    std::memcpy(x.v, p, sizeof(x.v));
    return x;
  }
  static I all_i(int32_t x) {
    return each<I>([&](size_t) { return x; });
  }
  static I load_all_i(const float* p) { return all_i(std::bit_cast<int32_t>(*p)); }
  static I add_i(I x, I y) {
    return each<I>([&](size_t i) { return x.v[i] + y.v[i]; });
  }
  static I and_i(I x, I y) {
    return each<I>([&](size_t i) { return x.v[i] & y.v[i]; });
  }
  static I or_i(I x, I y) {
    return each<I>([&](size_t i) { return x.v[i] | y.v[i]; });
  }
  static I max_i(I x, I y) {
    return each<I>([&](size_t i) { return x.v[i] > y.v[i] ? x.v[i] : y.v[i]; });
  }
  template <int kBits>
  static I shift_left(I x) {
    return each<I>([&](size_t i) { return static_cast<int32_t>(static_cast<uint32_t>(x.v[i]) << kBits); });
  }
  static I shift_right(I x, int bits) {
    return each<I>([&](size_t i) { return static_cast<int32_t>(static_cast<uint32_t>(x.v[i]) >> bits); });
  }
  static I byte_signed(I x, int byte) {
    return each<I>([&](size_t i) { return static_cast<int8_t>(static_cast<uint32_t>(x.v[i]) >> (8 * byte)); });
  }
  // Words kMinusSum to kScaledSum1 of a group from its codes and kScale; group and row become zero.
  static void put_sums(RoundedGroup& to) {
    int32_t halves[2] = {0, 0};
    for (size_t i = 0; i < kGroup; ++i) halves[i / 16] += to.codes[i];
    const int32_t sums[3] = {halves[0] + halves[1], halves[0], halves[1]};
    for (size_t i = 0; i < 3; ++i) {
      to.words[kMinusSum + i] = std::bit_cast<float>(-sums[i]);
      to.words[kScaledSum + i] = to.words[kScale] * static_cast<float>(sums[i]);
    }
    to.group = to.row = 0;
  }
  static int32_t largest_i(I x) {
    int32_t most = x.v[0];
    for (const int32_t v : x.v) most = v > most ? v : most;
    return most;
  }
  static F to_float(I x) {
    return each([&](size_t i) { return static_cast<float>(x.v[i]); });
  }
  static I to_int(F x) {  // to nearest, ties to even; what is no int gives the lowest one, as vector units do
    return each<I>([&](size_t i) { return std::fabs(x.v[i]) < 0x1p31F ? static_cast<int32_t>(std::nearbyint(x.v[i])) : INT32_MIN; });
  }
  static F as_float(I x) { return std::bit_cast<F>(x); }
  static I as_int(F x) { return std::bit_cast<I>(x); }

  static Codes load_codes(const std::byte* p) {
    Codes x;
    std::memcpy(x.v, p, sizeof(x.v));
    return x;
  }
  static void store_codes(std::byte* p, Codes x) { std::memcpy(p, x.v, sizeof(x.v)); }
  static Codes and_codes(Codes x, int mask) {
    return each<Codes>([&](size_t i) { return x.v[i] & mask; });
  }
  static Codes right_codes(Codes x, int bits) {
    return each<Codes>([&](size_t i) { return x.v[i] >> bits; });
  }
  static Codes left_codes(Codes x, int bits) {
    return each<Codes>([&](size_t i) { return x.v[i] << bits; });
  }
  static Codes less_codes(Codes x, int value) {
    return each<Codes>([&](size_t i) { return x.v[i] - value; });
  }
  static Codes or_codes(Codes x, Codes y) {
    return each<Codes>([&](size_t i) { return x.v[i] | y.v[i]; });
  }
  static Codes flip_signs(Codes x) { return x; }

  // Sum over kQuads times 4 columns of code * x, per lane. Codes are 0..kMaxCode, or signed bytes when kMaxCode is 255.
  template <int kMaxCode, int kQuads>
  struct Dot {
    I total;
    void start(I from) { total = from; }
    void add(const Codes& codes, const int8_t* x, int) {
      for (size_t lane = 0; lane < 16; ++lane) {
        for (size_t i = 0; i < 4; ++i) {
          const uint8_t code = codes.v[4 * lane + i];
          total.v[lane] += (kMaxCode == 255 ? static_cast<int8_t>(code) : code) * x[i];
        }
      }
    }
    I end() const { return total; }
  };

  // 32 values as bytes, to nearest; beyond a byte its ends.
  static void store_bytes(int8_t* p, F low, F high) {
    const I x = to_int(low), y = to_int(high);
    for (size_t i = 0; i < 16; ++i) {
      p[i] = static_cast<int8_t>(x.v[i]);
      p[16 + i] = static_cast<int8_t>(y.v[i]);
    }
  }
  static void prefetch(const std::byte*) {}
  static void prefetch_far(const std::byte*) {}
};

}  // namespace
}  // namespace quern::cpu
