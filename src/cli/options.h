// Options with checked values: a number is read in full and in its range, and the message names the option, the range and what was found.
// The variables that options write to must outlive the parsing: a verb keeps them in a shared_ptr that its work holds.
#pragma once
#include <CLI/CLI.hpp>
#include <concepts>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/parse.h"

namespace quern {

// "--threads" of "-t,--threads": the first long name, or the only name.
std::string shown_name(const std::string& names);

// `names` as CLI11 takes them. `into` may be an optional; otherwise its value at this moment is shown as the default.
template <class T, class Into>
CLI::Option* add_number(CLI::App& app, const std::string& names, Into& into, T min, T max, const std::string& help) {
  const auto store = [&into, min, max, name = shown_name(names)](const std::string& text) {
    const std::optional<T> value = parse_number<T>(text, min, max);
    if (!value) {
      raise(usage, "{}: want {} from {} to {}, found '{}'", name, std::integral<T> ? "an integer" : "a number", min, max,
            escaped(text, 60));
    }
    into = *value;
  };
  CLI::Option* option = app.add_option_function<std::string>(names, store, help)->type_name(std::integral<T> ? "N" : "X");
  if constexpr (std::is_arithmetic_v<Into>) option->default_str(fmt::format("{}", into));
  return option;
}

// Exactly one of `choices`.
CLI::Option* add_choice(CLI::App& app, const std::string& names, std::string& into, const std::vector<std::string>& choices,
                        const std::string& help);

// A text; `type_name` is shown in the help (FILE, MODEL, TEXT).
CLI::Option* add_text(CLI::App& app, const std::string& names, std::string& into, const std::string& type_name, const std::string& help);

// A text option that may be given several times.
CLI::Option* add_texts(CLI::App& app, const std::string& names, std::vector<std::string>& into, const std::string& type_name,
                       const std::string& help);

}  // namespace quern
