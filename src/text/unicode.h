// Character classes and normalisation form C. Pure functions over generated tables (tools/make_unicode_tables.py): classes of Unicode
// 16.0, NFC of Unicode 9.0, which are the versions that Hugging Face tokenizers has.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "text/unicode_tables.h"

namespace quern {

// The kLetterBit, kNumberBit, kSpaceBit and kNfcCheckBit of a code point (at most U+10FFFF).
inline uint8_t character_bits(char32_t c) { return kClassBlocks[size_t{kClassIndex[c >> 7]} * 128 + (c & 127)]; }

// One character of well-formed UTF-8.
struct Character {
  char32_t code_point;
  uint32_t length;  // bytes
};

// The character at `text[at]`; `text` is well-formed and `at` < its size.
inline Character character_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[at + i])); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xe0) return {(lead & 0x1f) << 6 | (byte(1) & 0x3f), 2};
  if (lead < 0xf0) return {(lead & 0xf) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f), 3};
  return {(lead & 7) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f), 4};
}

// Whether `text` (well-formed) is certain to be in NFC: no character needs a closer look. False does not mean that it is not.
bool is_certainly_nfc(std::string_view text);

// `text` (well-formed) in NFC. Linear but for runs of combining marks, which are sorted.
std::string nfc(std::string_view text);

// Whether Python's str.strip() removes the character: White_Space and U+001C to U+001F.
inline bool is_python_space(char32_t c) { return (character_bits(c) & kSpaceBit) != 0 || (c >= 0x1c && c <= 0x1f); }

}  // namespace quern
