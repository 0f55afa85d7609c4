#include "files/json_scanner.h"

#include "base/error.h"
#include "base/parse.h"
#include "base/utf8.h"

namespace quern {
namespace {

constexpr int kMaxDepth = 64;

// Levels of [ and { outside strings; stops at the first byte that is one too deep.
std::optional<size_t> first_too_deep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) return i;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return std::nullopt;
}

bool ends_token(char c) { return c == ',' || c == ':' || c == ']' || c == '}' || c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

}  // namespace

JsonScanner::JsonScanner(std::string_view text, std::string where, uint64_t base) : text_(text), where_(std::move(where)), base_(base) {
  if (text.starts_with("\xef\xbb\xbf"))
    raise(invalid_input, "{}: starts with a byte order mark at offset {}; want plain UTF-8", where_, base);
  if (const size_t bad = utf8_first_invalid(text); bad != text.npos)
    raise(invalid_input, "{}: invalid UTF-8 at offset {}", where_, base + bad);
  if (const auto deep = first_too_deep(text))
    raise(invalid_input, "{}: JSON nested deeper than {} levels at offset {}", where_, kMaxDepth, base + *deep);
}

void JsonScanner::skip_white_space() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) ++at_;
}

char JsonScanner::peek() {
  skip_white_space();
  return at_ < text_.size() ? text_[at_] : '\0';
}

std::string_view JsonScanner::token() const {
  size_t end = at_;
  while (end < text_.size() && end - at_ < 40 && (end == at_ || !ends_token(text_[end]))) ++end;
  return text_.substr(at_, end - at_);
}

void JsonScanner::refuse(const char* want) {
  skip_white_space();
  const std::string subject = subject_.empty() ? "" : escaped(subject_) + ": ";
  const std::string found = at_ == text_.size() ? "its end" : escaped(token(), 40);
  raise(invalid_input, "{}: {}JSON at offset {}: want {}, found {}", where_, subject, offset(), want, found);
}

void JsonScanner::expect(char c) {
  if (peek() != c || at_ == text_.size()) {
    const char want[] = {'\'', c, '\'', '\0'};
    refuse(want);
  }
  ++at_;
}

bool JsonScanner::accept(char c) {
  if (peek() != c || at_ == text_.size()) return false;
  ++at_;
  return true;
}

bool JsonScanner::another(char closing) {
  if (accept(',')) return true;
  if (accept(closing)) return false;
  refuse(closing == '}' ? "',' or '}'" : "',' or ']'");
}

uint32_t JsonScanner::four_hex() {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) refuse("four hexadecimal digits");
    value = value << 4 | static_cast<uint32_t>(digit);
    ++at_;
  }
  return value;
}

// After the backslash.
void JsonScanner::decode_escape(std::string& out) {
  const char c = at_ < text_.size() ? text_[at_] : '\0';
  constexpr std::string_view kNames = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
  if (const size_t i = kNames.find(c); c != '\0' && i != kNames.npos) {
    ++at_;
    out += kMeanings[i];
    return;
  }
  if (c != 'u') refuse("an escape of JSON");
  ++at_;
  char32_t code = four_hex();
  if (code >= 0xd800 && code < 0xdc00 && text_.substr(at_).starts_with("\\u")) {
    at_ += 2;
    const uint32_t low = four_hex();
    code = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00) : 0xd800;
  }
  if (code >= 0xd800 && code < 0xe000)
    raise(invalid_input, "{}: JSON at offset {}: want a whole surrogate pair, found half of one", where_, offset());
  utf8_append(out, code);
}

std::string_view JsonScanner::string(std::string& scratch, size_t max_bytes, const char* what) {
  if (peek() != '"') refuse("a string");
  const uint64_t start_offset = offset();
  const auto check_length = [&](size_t length) {
    if (length > max_bytes)
      raise(invalid_input, "{}: {} at offset {}: want at most {} bytes, found more", where_, what, start_offset, max_bytes);
  };
  size_t from = ++at_;
  bool has_escapes = false;
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == '"') {
      const std::string_view part = text_.substr(from, at_ - from);
      check_length(part.size() + (has_escapes ? scratch.size() : 0));
      ++at_;
      if (!has_escapes) return part;
      scratch += part;
      return scratch;
    }
    if (static_cast<unsigned char>(c) < 0x20)
      raise(invalid_input, "{}: {} at offset {}: control character \\x{:02x} in a string", where_, what, offset(), c);
    if (c == '\\') {
      if (!has_escapes) scratch.clear();
      has_escapes = true;
      scratch += text_.substr(from, at_ - from);
      check_length(scratch.size());
      ++at_;
      decode_escape(scratch);
      from = at_;
    } else {
      ++at_;
    }
  }
  refuse("the end of a string");
}

std::optional<uint64_t> JsonScanner::unsigned_integer() {
  skip_white_space();
  size_t end = at_;
  while (end < text_.size() && text_[end] >= '0' && text_[end] <= '9') ++end;
  const std::string_view digits = text_.substr(at_, end - at_);
  if (digits.empty() || (digits.size() > 1 && digits[0] == '0') || (end < text_.size() && !ends_token(text_[end]))) return std::nullopt;
  const std::optional<uint64_t> value = parse_number<uint64_t>(digits);
  if (value) at_ = end;
  return value;
}

void JsonScanner::skip_string() {
  ++at_;
  std::string escape;
  while (at_ < text_.size() && text_[at_] != '"') {
    if (static_cast<unsigned char>(text_[at_]) < 0x20) refuse("a string without control characters");
    if (text_[at_++] == '\\') {
      escape.clear();
      decode_escape(escape);
    }
  }
  if (at_ == text_.size()) refuse("the end of a string");
  ++at_;
}

void JsonScanner::skip_value() { skip_value_at(0); }

void JsonScanner::skip_value_at(int depth) {
  if (depth > kMaxDepth) refuse("fewer levels");
  const char c = peek();
  if (c == '"') {
    skip_string();
  } else if (c == '{') {
    ++at_;
    if (accept('}')) return;
    do {
      if (peek() != '"') refuse("a key");
      skip_string();
      expect(':');
      skip_value_at(depth + 1);
    } while (another('}'));
  } else if (c == '[') {
    ++at_;
    if (accept(']')) return;
    do {
      skip_value_at(depth + 1);
    } while (another(']'));
  } else {
    size_t end = at_;
    while (end < text_.size() && !ends_token(text_[end])) ++end;
    const std::string_view word = text_.substr(at_, end - at_);
    const bool is_word = word == "true" || word == "false" || word == "null";
    const bool is_number =
        !word.empty() && (word[0] == '-' || (word[0] >= '0' && word[0] <= '9')) && parse_number<double>(word).has_value();
    if (!is_word && !is_number) refuse("a value");
    at_ = end;
  }
}

void JsonScanner::end() {
  skip_white_space();
  if (at_ != text_.size()) refuse("nothing more");
}

}  // namespace quern
