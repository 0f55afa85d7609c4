#include "text/byte_alphabet.h"

#include <array>

#include "base/utf8.h"

namespace quern {
namespace {

constexpr bool stands_for_itself(unsigned byte) { return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174; }

// Byte of each character below U+0144, or -1: printable bytes are themselves, the other 68 follow from U+0100 on.
constexpr std::array<int16_t, 0x144> make_bytes() {
  std::array<int16_t, 0x144> bytes{};
  for (int16_t& byte : bytes) byte = -1;
  size_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) bytes[stands_for_itself(byte) ? byte : next++] = static_cast<int16_t>(byte);
  return bytes;
}
constexpr std::array<int16_t, 0x144> kBytes = make_bytes();

}  // namespace

std::optional<std::string> bytes_of_alphabet(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_sequence_length(text.substr(at));
    if (length == 0 || length > 2) return std::nullopt;
    const char32_t c = utf8_decode(text.substr(at), length);
    if (c >= kBytes.size() || kBytes[c] < 0) return std::nullopt;
    bytes += static_cast<char>(kBytes[c]);
    at += length;
  }
  return bytes;
}

}  // namespace quern
