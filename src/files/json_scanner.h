// Reads JSON text token by token without building anything: for headers of 100 MB, where a document tree would take gigabytes.
// Strings are views into the text. Every error is invalid_input with the byte offset in the file. One thread.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace quern {

class JsonScanner {
 public:
  // `where` opens every message; `base` is the offset of the text's first byte in that file. Checks at once that the text is UTF-8 and
  // nested at most 64 levels deep.
  JsonScanner(std::string_view text, std::string where, uint64_t base);

  // The next byte that is not white space, or 0 at the end.
  char peek();
  // Takes `c`, the next byte that is not white space, or refuses what is there.
  void expect(char c);
  // Takes `c` if it is next.
  bool accept(char c);
  // After a value of an object or array: true when another follows, false when `closing` was taken.
  bool another(char closing);

  // A string of at most `max_bytes` bytes (after escapes), decoded. The view points into the text, or into `scratch` when the string has
  // escapes. `what` names it in messages.
  std::string_view string(std::string& scratch, size_t max_bytes, const char* what);
  // An unsigned integer written as digits alone; nothing when the next value is anything else (its text is `token`).
  std::optional<uint64_t> unsigned_integer();
  // The text of the next number, word or string, cut, for messages.
  std::string_view token() const;
  void skip_value();
  // Only white space is left.
  void end();

  // Names what is being read in the messages that follow ("" again for nothing). The text must live until the next call.
  void about(std::string_view subject) { subject_ = subject; }

  uint64_t offset() const { return base_ + at_; }
  const std::string& where() const { return where_; }

 private:
  [[noreturn]] void refuse(const char* want);
  void skip_white_space();
  void skip_string();
  void skip_value_at(int depth);
  void decode_escape(std::string& out);
  uint32_t four_hex();

  std::string_view text_;
  std::string where_;
  std::string_view subject_;
  uint64_t base_;
  size_t at_ = 0;
};

}  // namespace quern
