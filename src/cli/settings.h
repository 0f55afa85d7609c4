// Options from the environment and from a file, for verbs that have --config: a flag of the command line goes before a variable
// QUERN_<LONG_FLAG>, and that before the file. Stateless.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace quern {

// `arguments` of `verb`, with what environment and file add as further arguments. `variable` reads the environment. Throws usage for a
// name in the file that is no option.
std::vector<std::string> with_settings(const CLI::App& verb, std::vector<std::string> arguments,
                                       const std::function<const char*(const char* name)>& variable);

// The entries of a configuration file: a JSON object, or YAML of plain `name: value` lines and lists of values. Names with hyphens.
std::vector<std::pair<std::string, std::string>> read_settings_file(const std::string& path);

}  // namespace quern
