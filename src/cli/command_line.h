// The argument vector into the work of one verb: limits on arguments, spellings, and errors that name the nearest flag.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/verbs.h"

namespace quern {

inline constexpr size_t kMaxArgumentBytes = 128 * 1024;  // longer prompts come from a file

// Parses `arguments` (without the program's name) with `app`, as declare_verbs made it. Help and version requests are returned as text to
// print; otherwise the result is empty and one subcommand of `app` is parsed. Throws Error{usage}.
std::string parse_command_line(CLI::App& app, std::vector<std::string> arguments);

// The one of `candidates` that `word` was probably meant to be, or "": at most a third of its letters differ.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace quern
