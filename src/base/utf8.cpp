#include "base/utf8.h"

#include <cstring>

namespace quern {
namespace {

unsigned byte_at(std::string_view text, size_t i) { return static_cast<unsigned char>(text[i]); }

struct Lead {
  size_t length;  // 0 for a byte that starts no sequence
  unsigned second_min, second_max;
};

Lead lead_of(unsigned byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xc2) return {0, 0, 0};
  if (byte < 0xe0) return {2, 0x80, 0xbf};
  if (byte == 0xe0) return {3, 0xa0, 0xbf};
  if (byte == 0xed) return {3, 0x80, 0x9f};
  if (byte < 0xf0) return {3, 0x80, 0xbf};
  if (byte == 0xf0) return {4, 0x90, 0xbf};
  if (byte < 0xf4) return {4, 0x80, 0xbf};
  if (byte == 0xf4) return {4, 0x80, 0x8f};
  return {0, 0, 0};
}

// Bytes at the start of `text` that fit a well-formed sequence so far, at least 1; `complete` when they are one.
size_t longest_prefix(std::string_view text, bool& complete) {
  const Lead lead = lead_of(byte_at(text, 0));
  complete = lead.length == 1;
  if (lead.length <= 1) return 1;
  size_t n = 1;
  while (n < lead.length && n < text.size()) {
    const unsigned low = n == 1 ? lead.second_min : 0x80, high = n == 1 ? lead.second_max : 0xbf;
    if (byte_at(text, n) < low || byte_at(text, n) > high) return n;
    ++n;
  }
  complete = n == lead.length;
  return n;
}

}  // namespace

size_t utf8_sequence_length(std::string_view text) {
  if (text.empty()) return 0;
  bool complete = false;
  const size_t n = longest_prefix(text, complete);
  return complete ? n : 0;
}

char32_t utf8_decode(std::string_view text, size_t length) {
  if (length == 1) return byte_at(text, 0);
  char32_t value = byte_at(text, 0) & (0x7fU >> length);
  for (size_t i = 1; i < length; ++i) value = (value << 6) | (byte_at(text, i) & 0x3f);
  return value;
}

void utf8_append(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | (c >> 6));
    put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3f));
    put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3f));
    put(0x80 | ((c >> 6) & 0x3f));
    put(0x80 | (c & 0x3f));
  }
}

size_t utf8_first_invalid(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    uint64_t eight;  // most text is ASCII: eight bytes at a time
    if (text.size() - i >= sizeof(eight)) {
      std::memcpy(&eight, text.data() + i, sizeof(eight));
      if ((eight & 0x8080808080808080U) == 0) {
        i += sizeof(eight);
        continue;
      }
    }
    const size_t n = utf8_sequence_length(text.substr(i));
    if (n == 0) return i;
    i += n;
  }
  return std::string_view::npos;
}

std::string utf8_repaired(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    bool complete = false;
    const size_t n = longest_prefix(text.substr(i), complete);
    if (complete) {
      out.append(text.substr(i, n));
    } else {
      out += "\xef\xbf\xbd";
    }
    i += n;
  }
  return out;
}

}  // namespace quern
