#include "base/error.h"

#include "base/utf8.h"

namespace quern {

std::string escaped(std::string_view text, size_t max_bytes) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (out.size() >= max_bytes) return out + "...";
    const auto byte = static_cast<unsigned char>(text[i]);
    const size_t length = utf8_sequence_length(text.substr(i));
    if (length == 0 || byte < 0x20 || byte == 0x7f || (byte == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0)) {
      out += fmt::format("\\x{:02x}", byte);
      i += 1;
    } else {
      out.append(text.substr(i, length));
      i += length;
    }
  }
  return out;
}

void check_failed(const char* file, int line, const char* condition, std::string values) {
  const std::string_view path = file;
  const size_t source = path.rfind("src/");
  throw Error(internal, fmt::format("{}:{}: broken invariant: {}{}{}", source == path.npos ? path : path.substr(source), line, condition,
                                    values.empty() ? "" : ": ", values));
}

}  // namespace quern
