// How the codes, scales and offsets of each format lie in a panel (packed by panels.cpp), as vectors of 16 lanes.
// Included by the kernel files after their lanes_*.h; everything has internal linkage.
//
// An integer source names its block: kBlock columns in kBytes bytes for all 16 lanes. value = scale * (code - 2^kShift) + offset, with a
// scale for each of kHalves parts of a group of 32 columns; kShift < 0: nothing is subtracted; kOffset: there is an offset.
// Codes of a group are 8 vectors: lane l of vector q holds columns 4q .. 4q+3 of output row l in 4 bytes.
#pragma once

namespace quern::cpu {
namespace {

using F = Lanes::F;
using I = Lanes::I;
using Codes = Lanes::Codes;

template <int kHalves>
struct Group {
  Codes codes[8];
  F scale[kHalves], offset[kHalves];
};

constexpr int kVector = 64;  // bytes of 16 lanes of 32 bits
constexpr int kHalfVector = 32;

// Codes of 4 bits: low nibbles are columns 0-15, high nibbles columns 16-31 of the group.
template <int kHalves>
inline void load_nibbles(const std::byte* p, Group<kHalves>& group) {
  for (int q = 0; q < 4; ++q) {
    const Codes both = Lanes::load_codes(p + q * kVector);
    group.codes[q] = Lanes::and_codes(both, 0x0f);
    group.codes[q + 4] = Lanes::and_codes(Lanes::right_codes(both, 4), 0x0f);
  }
}

// Adds the fifth bits: bit q of byte b of a lane belongs to column 4q + b.
template <int kHalves>
inline void load_fifth_bits(const std::byte* p, Group<kHalves>& group) {
  const Codes bits = Lanes::load_codes(p);
  LANES_UNROLL
  for (int q = 0; q < 8; ++q) {
    const Codes bit = q < 4 ? Lanes::left_codes(bits, 4 - q) : Lanes::right_codes(bits, q - 4);
    group.codes[q] = Lanes::or_codes(group.codes[q], Lanes::and_codes(bit, 0x10));
  }
}

struct Symmetric {
  static constexpr int kHalves = 1;
  static constexpr bool kScaled = true, kOffset = false;
};

// f16 scales, then per group of 32 the codes.
template <int kN>
struct I4 : Symmetric {
  static constexpr int kBlock = kN, kBytes = kHalfVector + kN / 32 * 4 * kVector, kMaxCode = 15, kShift = 3;
  static void load(const std::byte* block, int g, Group<1>& out) {
    load_nibbles(block + kHalfVector + g * 4 * kVector, out);
    out.scale[0] = Lanes::load_f16(block);
  }
};

// f16 scales, byte zero points, codes.
template <int kN>
struct I4Z {
  static constexpr int kBlock = kN, kBytes = kHalfVector + 16 + kN / 32 * 4 * kVector, kHalves = 1, kMaxCode = 15, kShift = -1;
  static constexpr bool kScaled = true, kOffset = true;
  static void load(const std::byte* block, int g, Group<1>& out) {
    load_nibbles(block + kHalfVector + 16 + g * 4 * kVector, out);
    out.scale[0] = Lanes::load_f16(block);
    out.offset[0] = Lanes::mul(out.scale[0], Lanes::sub(Lanes::zero(), Lanes::from_bytes(block + kHalfVector)));
  }
};

template <int kN>
struct I8G : Symmetric {
  static constexpr int kBlock = kN, kBytes = kHalfVector + kN / 32 * 8 * kVector, kMaxCode = 255;
  static constexpr int kShift = Lanes::kSignedBytes ? -1 : 7;
  static void load(const std::byte* block, int g, Group<1>& out) {
    for (int q = 0; q < 8; ++q) out.codes[q] = Lanes::flip_signs(Lanes::load_codes(block + kHalfVector + (g * 8 + q) * kVector));
    out.scale[0] = Lanes::load_f16(block);
  }
};

// Codes only; the row's scale stands behind the last group.
struct I8Row {
  static constexpr int kBlock = 32, kBytes = 8 * kVector, kHalves = 1, kMaxCode = 255;
  static constexpr int kShift = Lanes::kSignedBytes ? -1 : 7;
  static constexpr bool kScaled = false, kOffset = false;
  static void load(const std::byte* block, int, Group<1>& out) {
    for (int q = 0; q < 8; ++q) out.codes[q] = Lanes::flip_signs(Lanes::load_codes(block + q * kVector));
  }
};

struct Q4_1 {
  static constexpr int kBlock = 32, kBytes = 2 * kHalfVector + 4 * kVector, kHalves = 1, kMaxCode = 15, kShift = -1;
  static constexpr bool kScaled = true, kOffset = true;
  static void load(const std::byte* block, int, Group<1>& out) {
    load_nibbles(block + 2 * kHalfVector, out);
    out.scale[0] = Lanes::load_f16(block);
    out.offset[0] = Lanes::load_f16(block + kHalfVector);
  }
};

struct Q5_0 : Symmetric {
  static constexpr int kBlock = 32, kBytes = kHalfVector + 5 * kVector, kMaxCode = 31, kShift = 4;
  static void load(const std::byte* block, int, Group<1>& out) {
    load_nibbles(block + kHalfVector + kVector, out);
    load_fifth_bits(block + kHalfVector, out);
    out.scale[0] = Lanes::load_f16(block);
  }
};

struct Q5_1 {
  static constexpr int kBlock = 32, kBytes = 2 * kHalfVector + 5 * kVector, kHalves = 1, kMaxCode = 31, kShift = -1;
  static constexpr bool kScaled = true, kOffset = true;
  static void load(const std::byte* block, int, Group<1>& out) {
    load_nibbles(block + 2 * kHalfVector + kVector, out);
    load_fifth_bits(block + 2 * kHalfVector, out);
    out.scale[0] = Lanes::load_f16(block);
    out.offset[0] = Lanes::load_f16(block + kHalfVector);
  }
};

// f16 d and dmin, then 3 words of 6-bit scales and minima (formats/k_scales.h): group g's share of them.
inline void load_k_scales(const std::byte* block, int g, F& scale, F& offset) {
  const std::byte* words = block + 2 * kHalfVector;
  const int shift = g % 4 * 8;
  I s, m;
  if (g < 4) {
    s = Lanes::and_i(Lanes::shift_right(Lanes::load_i(words), shift), Lanes::all_i(0x3f));
    m = Lanes::and_i(Lanes::shift_right(Lanes::load_i(words + kVector), shift), Lanes::all_i(0x3f));
  } else {
    const I low = Lanes::shift_right(Lanes::load_i(words + 2 * kVector), shift);
    const I high_s = Lanes::shift_right(Lanes::load_i(words), shift), high_m = Lanes::shift_right(Lanes::load_i(words + kVector), shift);
    s = Lanes::or_i(Lanes::and_i(low, Lanes::all_i(0x0f)), Lanes::and_i(Lanes::shift_right(high_s, 2), Lanes::all_i(0x30)));
    m = Lanes::or_i(Lanes::and_i(Lanes::shift_right(low, 4), Lanes::all_i(0x0f)),
                    Lanes::and_i(Lanes::shift_right(high_m, 2), Lanes::all_i(0x30)));
  }
  scale = Lanes::mul(Lanes::load_f16(block), Lanes::to_float(s));
  offset = Lanes::mul(Lanes::sub(Lanes::zero(), Lanes::load_f16(block + kHalfVector)), Lanes::to_float(m));
}

struct Q4_K {
  static constexpr int kCodes = 2 * kHalfVector + 3 * kVector;
  static constexpr int kBlock = 256, kBytes = kCodes + 32 * kVector, kHalves = 1, kMaxCode = 15, kShift = -1;
  static constexpr bool kScaled = true, kOffset = true;
  static void load(const std::byte* block, int g, Group<1>& out) {
    for (int q = 0; q < 8; ++q) {
      out.codes[q] = Lanes::and_codes(Lanes::right_codes(Lanes::load_codes(block + kCodes + (g / 2 * 8 + q) * kVector), g % 2 * 4), 0x0f);
    }
    load_k_scales(block, g, out.scale[0], out.offset[0]);
  }
};

struct Q5_K {
  static constexpr int kFifths = 2 * kHalfVector + 3 * kVector, kCodes = kFifths + 8 * kVector;
  static constexpr int kBlock = 256, kBytes = kCodes + 32 * kVector, kHalves = 1, kMaxCode = 31, kShift = -1;
  static constexpr bool kScaled = true, kOffset = true;
  static void load(const std::byte* block, int g, Group<1>& out) {
    for (int q = 0; q < 8; ++q) {
      const Codes low = Lanes::right_codes(Lanes::load_codes(block + kCodes + (g / 2 * 8 + q) * kVector), g % 2 * 4);
      const Codes bits = Lanes::load_codes(block + kFifths + q * kVector);
      const Codes fifth = g < 4 ? Lanes::left_codes(bits, 4 - g) : Lanes::right_codes(bits, g - 4);
      out.codes[q] = Lanes::or_codes(Lanes::and_codes(low, 0x0f), Lanes::and_codes(fifth, 0x10));
    }
    load_k_scales(block, g, out.scale[0], out.offset[0]);
  }
};

// 2-bit field s (0..3) of each byte, moved to bit `to`.
inline Codes field2(Codes bytes, int s, int to) {
  return Lanes::and_codes(2 * s < to ? Lanes::left_codes(bytes, to - 2 * s) : Lanes::right_codes(bytes, 2 * s - to), 3 << to);
}

// d, 4 words of signed byte scales, low nibbles, high 2-bit parts.
struct Q6_K {
  static constexpr int kLow = kHalfVector + 4 * kVector, kHigh = kLow + 32 * kVector;
  static constexpr int kBlock = 256, kBytes = kHigh + 16 * kVector, kHalves = 2, kMaxCode = 63, kShift = 5;
  static constexpr bool kScaled = true, kOffset = false;
  static void load(const std::byte* block, int g, Group<2>& out) {
    const int half = g / 4, s = g % 4;
    for (int q = 0; q < 8; ++q) {
      const Codes low = Lanes::right_codes(Lanes::load_codes(block + kLow + (16 * half + s % 2 * 8 + q) * kVector), s / 2 * 4);
      const Codes high = field2(Lanes::load_codes(block + kHigh + (8 * half + q) * kVector), s, 4);
      out.codes[q] = Lanes::or_codes(Lanes::and_codes(low, 0x0f), high);
    }
    const F d = Lanes::load_f16(block);
    const I words = Lanes::load_i(block + kHalfVector + g / 2 * kVector);
    for (int i = 0; i < 2; ++i) out.scale[i] = Lanes::mul(d, Lanes::to_float(Lanes::byte_signed(words, g % 2 * 2 + i)));
  }
};

// d, 3 words of 6-bit scales, third bits, 2-bit codes.
struct Q3_K {
  static constexpr int kThirds = kHalfVector + 3 * kVector, kCodes = kThirds + 8 * kVector;
  static constexpr int kBlock = 256, kBytes = kCodes + 16 * kVector, kHalves = 2, kMaxCode = 7, kShift = 2;
  static constexpr bool kScaled = true, kOffset = false;
  static void load(const std::byte* block, int g, Group<2>& out) {
    for (int q = 0; q < 8; ++q) {
      const Codes low = field2(Lanes::load_codes(block + kCodes + (g / 4 * 8 + q) * kVector), g % 4, 0);
      const Codes bits = Lanes::load_codes(block + kThirds + q * kVector);
      const Codes third = g < 2 ? Lanes::left_codes(bits, 2 - g) : Lanes::right_codes(bits, g - 2);
      out.codes[q] = Lanes::or_codes(low, Lanes::and_codes(third, 4));
    }
    const F d = Lanes::load_f16(block);
    for (int i = 0; i < 2; ++i) {
      const int n = 2 * g + i;  // of 16
      const I low = Lanes::shift_right(Lanes::load_i(block + kHalfVector + n % 8 / 4 * kVector), n % 4 * 8 + n / 8 * 4);
      const I high = Lanes::shift_right(Lanes::load_i(block + kHalfVector + 2 * kVector), n % 4 * 8 + n / 4 * 2);
      const I bits = Lanes::or_i(Lanes::and_i(low, Lanes::all_i(0x0f)), Lanes::shift_left<4>(Lanes::and_i(high, Lanes::all_i(3))));
      out.scale[i] = Lanes::mul(d, Lanes::to_float(Lanes::add_i(bits, Lanes::all_i(-32))));
    }
  }
};

// d and dmin, 4 words of nibble pairs (scale, minimum), 2-bit codes.
struct Q2_K {
  static constexpr int kCodes = 2 * kHalfVector + 4 * kVector;
  static constexpr int kBlock = 256, kBytes = kCodes + 16 * kVector, kHalves = 2, kMaxCode = 3, kShift = -1;
  static constexpr bool kScaled = true, kOffset = true;
  static void load(const std::byte* block, int g, Group<2>& out) {
    for (int q = 0; q < 8; ++q) out.codes[q] = field2(Lanes::load_codes(block + kCodes + (g / 4 * 8 + q) * kVector), g % 4, 0);
    const F d = Lanes::load_f16(block), minus_dmin = Lanes::sub(Lanes::zero(), Lanes::load_f16(block + kHalfVector));
    const I words = Lanes::load_i(block + 2 * kHalfVector + g / 2 * kVector);
    for (int i = 0; i < 2; ++i) {
      const I byte = Lanes::shift_right(words, (g % 2 * 2 + i) * 8);
      out.scale[i] = Lanes::mul(d, Lanes::to_float(Lanes::and_i(byte, Lanes::all_i(0x0f))));
      out.offset[i] = Lanes::mul(minus_dmin, Lanes::to_float(Lanes::and_i(Lanes::shift_right(byte, 4), Lanes::all_i(0x0f))));
    }
  }
};

// A group as unpack_stage() leaves it: codes, then scales, then offsets.
template <int kHalves_, int kMaxCode_, int kShift_, bool kScaled_, bool kOffset_>
struct UnpackedAs {
  static constexpr int kHalves = kHalves_, kMaxCode = kMaxCode_, kShift = kShift_;
  static constexpr bool kScaled = kScaled_, kOffset = kOffset_;
  static constexpr int kScales = 8 * kVector, kOffsets = kScales + (kScaled ? kHalves * kVector : 0);
  static constexpr int kBlock = 32, kBytes = kOffsets + (kOffset ? kHalves * kVector : 0);
  static void store(std::byte* p, const Group<kHalves>& group) {
    for (int q = 0; q < 8; ++q) Lanes::store_codes(p + q * kVector, group.codes[q]);
    for (int i = 0; i < kHalves; ++i) {
      if (kScaled) Lanes::store(reinterpret_cast<float*>(p + kScales + i * kVector), group.scale[i]);
      if (kOffset) Lanes::store(reinterpret_cast<float*>(p + kOffsets + i * kVector), group.offset[i]);
    }
  }
};
template <class S>
using Unpacked = UnpackedAs<S::kHalves, S::kMaxCode, S::kShift, S::kScaled, S::kOffset>;

// Float sources: columns k (even) and k + 1 as floats. kBytes: of one column.
struct F32Source {
  static constexpr int kBytes = kVector;
  static void load(const std::byte* p, F& even, F& odd) { even = first(p), odd = first(p + kVector); }
  static F first(const std::byte* p) { return Lanes::load(reinterpret_cast<const float*>(p)); }
};
struct F16Source {
  static constexpr int kBytes = kHalfVector;
  static void load(const std::byte* p, F& even, F& odd) { even = first(p), odd = first(p + kHalfVector); }
  static F first(const std::byte* p) { return Lanes::load_f16(p); }
};
struct Bf16Source {  // columns in pairs
  static constexpr int kBytes = kHalfVector;
  static void load(const std::byte* p, F& even, F& odd) { Lanes::load_bf16_pairs(p, even, odd); }
  static F first(const std::byte* p) {
    F even, odd;
    Lanes::load_bf16_pairs(p, even, odd);
    return even;
  }
};

}  // namespace
}  // namespace quern::cpu
