// Standard output as every verb uses it: a write that does not arrive is an error, never a signal.
#pragma once
#include <fmt/core.h>

#include <string_view>
#include <utility>

namespace quern {

// Writes all of `text` to standard output at once. Throws resource when it is closed, full or gone.
void write_stdout(std::string_view text);

template <class... T>
void print(fmt::format_string<T...> format, T&&... args) {
  write_stdout(fmt::format(format, std::forward<T>(args)...));
}

// Writes to standard error; what does not arrive there is lost without a word.
void write_stderr(std::string_view text) noexcept;

// Ignores SIGPIPE and makes descriptors 0 to 2 exist, so that no file is opened under their numbers. Call first in main.
void prepare_standard_streams();

}  // namespace quern
