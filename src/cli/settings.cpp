#include "cli/settings.h"

#include <algorithm>

#include "base/json.h"
#include "base/mapped_file.h"
#include "cli/command_line.h"

namespace quern {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 20;

using Entries = std::vector<std::pair<std::string, std::string>>;

std::string with_hyphens(std::string name) {
  std::ranges::replace(name, '_', '-');
  return name;
}

std::string variable_name(std::string name) {
  for (char& c : name) c = c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  return "QUERN_" + name;
}

std::string value_text(const Json& value, const std::string& where) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_structured() || value.is_null()) raise(usage, "{}: want a value or a list of values", where);
  return value.dump();
}

Entries read_json_entries(const std::string& text, const std::string& path) {
  const Json json = parse_json(text, path);
  if (!json.is_object()) raise(usage, "{}: want an object of options", path);
  Entries entries;
  for (const auto& [name, value] : json.items()) {
    const std::string where = fmt::format("{}: {}", path, escaped(name, 60));
    if (!value.is_array()) {
      entries.emplace_back(with_hyphens(name), value_text(value, where));
      continue;
    }
    for (const Json& each : value) entries.emplace_back(with_hyphens(name), value_text(each, where));
  }
  return entries;
}

std::string trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == text.npos) return "";
  text = text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
  const bool is_quoted = text.size() >= 2 && (text[0] == '"' || text[0] == '\'') && text.back() == text[0];
  return std::string(is_quoted ? text.substr(1, text.size() - 2) : text);
}

// Of YAML what such files hold: `name: value`, and `name:` with `- value` lines below it. Anything else is refused.
Entries read_yaml_entries(const std::string& text, const std::string& path) {
  Entries entries;
  std::string list;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (const size_t comment = line.starts_with('#') ? 0 : line.find(" #"); comment != line.npos) line = line.substr(0, comment);
    const std::string plain = trimmed(line);
    if (plain.empty() || plain == "---") continue;
    if (plain.starts_with("- ") && !list.empty()) {
      entries.emplace_back(list, trimmed(plain.substr(2)));
      continue;
    }
    const size_t colon = plain.find(':');
    if (colon == plain.npos || colon == 0 || line[0] == ' ' || line[0] == '\t') {
      raise(usage, "{}: line {}: want `name: value`, found '{}'", path, number, escaped(plain, 60));
    }
    const std::string name = with_hyphens(plain.substr(0, colon)), value = trimmed(plain.substr(colon + 1));
    list = value.empty() ? name : "";
    if (!value.empty()) entries.emplace_back(name, value);
  }
  return entries;
}

// Whether `arguments` name the option, in any of its spellings.
bool is_given(const CLI::Option& option, const std::vector<std::string>& arguments) {
  return std::ranges::any_of(arguments, [&](const std::string& argument) {
    const std::string name = argument.substr(0, argument.find('='));
    if (name.starts_with("--")) return option.check_lname(name.substr(2)) || option.check_lname(with_hyphens(name.substr(2)));
    return name.size() >= 2 && name[0] == '-' && option.check_sname(name.substr(1, 1));
  });
}

std::vector<std::string> option_names(const CLI::App& verb) {
  std::vector<std::string> names;
  for (const CLI::Option* option : verb.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back(name);
  }
  return names;
}

void add_setting(std::vector<std::string>& arguments, const CLI::Option& option, const std::string& name, const std::string& value) {
  const bool is_flag = option.get_items_expected_max() == 0;
  const bool is_truth = value == "true" || value == "1" || value == "on", is_lie = value == "false" || value == "0" || value == "off";
  if (is_flag && !is_truth && !is_lie) raise(usage, "{}: want true or false, found '{}'", name, escaped(value, 60));
  arguments.push_back("--" + name + "=" + (is_flag ? (is_truth ? "true" : "false") : value));
}

}  // namespace

std::vector<std::pair<std::string, std::string>> read_settings_file(const std::string& path) {
  const std::string text = read_text_file(path, kMaxFileBytes);
  return trimmed(text).starts_with("{") || text.find_first_not_of(" \t\r\n") == text.find('{') ? read_json_entries(text, path)
                                                                                               : read_yaml_entries(text, path);
}

std::vector<std::string> with_settings(const CLI::App& verb, std::vector<std::string> arguments,
                                       const std::function<const char*(const char* name)>& variable) {
  const std::vector<std::string> given = arguments;
  std::string file;
  for (size_t i = 0; i < given.size(); ++i) {
    if (given[i].starts_with("--config=")) file = given[i].substr(9);
    if (given[i] == "--config" && i + 1 < given.size()) file = given[i + 1];
  }
  std::vector<const CLI::Option*> from_environment;
  for (const CLI::Option* option : verb.get_options()) {
    if (is_given(*option, given)) continue;
    for (const std::string& name : option->get_lnames()) {
      const char* value = name == "help" ? nullptr : variable(variable_name(name).c_str());
      if (value == nullptr || *value == '\0') continue;
      if (name == "config") file = value;
      add_setting(arguments, *option, name, value);
      from_environment.push_back(option);
      break;
    }
  }
  if (file.empty()) return arguments;
  for (const auto& [name, value] : read_settings_file(file)) {
    const CLI::Option* option = verb.get_option_no_throw("--" + name);
    if (option == nullptr || name == "config" || name == "help") {
      const std::string meant = nearest(name, option_names(verb));
      raise(usage, "{}: {}: no such option{}", escaped(file), escaped(name, 60),
            meant.empty() ? "" : fmt::format("; the nearest is {}", meant));
    }
    if (is_given(*option, given) || std::ranges::find(from_environment, option) != from_environment.end()) continue;
    add_setting(arguments, *option, name, value);
  }
  return arguments;
}

}  // namespace quern
