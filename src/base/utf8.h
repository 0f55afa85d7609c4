// UTF-8 as bytes: validation and stepping. Classes and normalisation of code points are text/unicode.h's.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace quern {

// Bytes of the well-formed sequence that `text` starts with (1 to 4), or 0 when it starts with none.
// Well-formed as in Unicode table 3-7: no overlong forms, no surrogates, at most U+10FFFF.
size_t utf8_sequence_length(std::string_view text);

// The code point of a well-formed sequence of `length` bytes at the start of `text`.
char32_t utf8_decode(std::string_view text, size_t length);

// Appends `code_point` (a scalar value) to `out`.
void utf8_append(std::string& out, char32_t code_point);

// Offset of the first byte that is not part of a well-formed sequence, or npos.
size_t utf8_first_invalid(std::string_view text);

// `text` with each maximal ill-formed subsequence replaced by U+FFFD (the rule of Unicode 3.9, used by WHATWG and Python).
std::string utf8_repaired(std::string_view text);

}  // namespace quern
