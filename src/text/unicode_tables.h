// The generated tables of unicode_tables.cpp, seen by unicode.h and unicode.cpp alone. Two stages, blocks of 128 code points.
#pragma once
#include <cstddef>
#include <cstdint>

namespace quern {

enum : uint8_t {
  kLetterBit = 1,    // general category L*
  kNumberBit = 2,    // N*
  kSpaceBit = 4,     // White_Space
  kNfcCheckBit = 8,  // not a starter, or NFC_Quick_Check is not Yes
};

extern const uint8_t kClassIndex[8704], kClassBlocks[];
extern const uint8_t kCombiningIndex[8704], kCombiningBlocks[];
extern const uint32_t kDecompositions[];  // triples by code point: code point, first, second (0: none)
extern const uint16_t kCompositions[];    // indices of triples, by (first, second)
extern const size_t kNumDecompositions, kNumCompositions;

}  // namespace quern
