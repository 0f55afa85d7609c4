// How every part of Quern reports failure: one exception type with one of five codes, and CHECK for broken invariants.
// The code is the process exit status; the message names the file, field or tensor, what was found and what was expected.
#pragma once
#include <fmt/format.h>

#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace quern {

enum class ErrorCode : int {
  usage = 2,          // unknown option, bad value
  invalid_input = 3,  // broken or hostile file, bad prompt
  resource = 4,       // memory, disk, descriptors, permissions
  incompatible = 5,   // version, architecture, device or format that is not supported here
  internal = 70,      // broken invariant, device fault
};
using enum ErrorCode;

class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}
  ErrorCode code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorCode code_;
  std::string message_;
};

// Throws Error. Form of a message: `where: what: want X, found Y`.
template <class... T>
[[noreturn]] void raise(ErrorCode code, fmt::format_string<T...> format, T&&... args) {
  throw Error(code, fmt::format(format, std::forward<T>(args)...));
}

// `text` made safe for one line of a message or log: control characters and invalid UTF-8 as \xNN, cut at `max_bytes` with "...".
std::string escaped(std::string_view text, size_t max_bytes = 200);

[[noreturn]] void check_failed(const char* file, int line, const char* condition, std::string values);

}  // namespace quern

// A broken invariant of this program, never bad input. Throws Error{internal}; stays on in release builds.
#define CHECK(condition, ...)                                                             \
  do {                                                                                    \
    if (!(condition)) [[unlikely]]                                                        \
      ::quern::check_failed(__FILE__, __LINE__, #condition, fmt::format("" __VA_ARGS__)); \
  } while (false)
