#include "cli/options.h"

#include <fmt/format.h>

#include <algorithm>

namespace quern {

std::string shown_name(const std::string& names) {
  const size_t at = names.find("--");
  const std::string from = at == std::string::npos ? names : names.substr(at);
  return from.substr(0, from.find(','));
}

CLI::Option* add_choice(CLI::App& app, const std::string& names, std::string& into, const std::vector<std::string>& choices,
                        const std::string& help) {
  const auto store = [&into, choices, name = shown_name(names)](const std::string& text) {
    if (std::ranges::find(choices, text) == choices.end()) {
      raise(usage, "{}: want one of {}, found '{}'", name, fmt::join(choices, ", "), escaped(text, 60));
    }
    into = text;
  };
  CLI::Option* option = app.add_option_function<std::string>(names, store, help)->type_name(fmt::format("{}", fmt::join(choices, "|")));
  if (!into.empty()) option->default_str(into);
  return option;
}

CLI::Option* add_text(CLI::App& app, const std::string& names, std::string& into, const std::string& type_name, const std::string& help) {
  CLI::Option* option = app.add_option_function<std::string>(
      names, [&into](const std::string& text) { into = text; }, help);
  if (!into.empty()) option->default_str(into);
  return option->type_name(type_name);
}

CLI::Option* add_texts(CLI::App& app, const std::string& names, std::vector<std::string>& into, const std::string& type_name,
                       const std::string& help) {
  const CLI::callback_t store = [&into](const CLI::results_t& results) {
    into = results;
    return true;
  };
  // One value an occurrence, taken as it is: "[a,b]" is a text and not a list.
  return app.add_option(names, store, help)
      ->type_name(type_name)
      ->type_size(1)
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
}

}  // namespace quern
