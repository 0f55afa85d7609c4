#include "text/chat/python_text.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/unicode.h"

namespace quern {
namespace {

// Bytes of the white space, in Python's sense, that `text` starts or ends with; 0 when there is none.
size_t space_length(std::string_view text, bool at_end) {
  for (size_t length = 1; length <= std::min<size_t>(3, text.size()); ++length) {
    const std::string_view part = at_end ? text.substr(text.size() - length) : text.substr(0, length);
    if (utf8_sequence_length(part) == length) return is_python_space(utf8_decode(part, length)) ? length : 0;
  }
  return 0;
}

}  // namespace

std::string_view python_stripped_right(std::string_view text) {
  while (const size_t length = space_length(text, true)) text.remove_suffix(length);
  return text;
}

std::string_view python_stripped(std::string_view text) {
  while (const size_t length = space_length(text, false)) text.remove_prefix(length);
  return python_stripped_right(text);
}

}  // namespace quern
