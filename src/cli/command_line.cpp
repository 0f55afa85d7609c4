#include "cli/command_line.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "base/error.h"
#include "base/utf8.h"
#include "cli/foreign_options.h"
#include "cli/settings.h"

namespace quern {
namespace {

// Insertions, deletions, replacements and exchanges of neighbours between `a` and `b`.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    std::swap(before_last, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

void check_arguments(std::span<const std::string> arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument.empty()) raise(usage, "argument {}: want text, found an empty one", i + 1);
    if (argument.size() > kMaxArgumentBytes) {
      raise(usage, "argument {}: want at most {} bytes, found {}", i + 1, kMaxArgumentBytes, argument.size());
    }
    if (const size_t at = utf8_first_invalid(argument); at != std::string::npos) {
      raise(usage, "argument {}: want UTF-8, found byte {:#04x} at offset {}", i + 1, static_cast<unsigned char>(argument[at]), at);
    }
  }
}

std::vector<const CLI::App*> all_verbs(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// The verb that was read; for a verb with parts, its part, when one was read.
CLI::App* parsed_verb(CLI::App& app) {
  std::vector<CLI::App*> parsed = app.get_subcommands();
  if (parsed.empty()) return nullptr;
  const std::vector<CLI::App*> parts = parsed.front()->get_subcommands();
  return parts.empty() ? parsed.front() : parts.front();
}

// "bench", "eval perplexity".
std::string full_name(const CLI::App& verb) {
  const CLI::App* parent = verb.get_parent();
  return parent != nullptr && parent->get_parent() != nullptr ? parent->get_name() + " " + verb.get_name() : verb.get_name();
}

std::vector<std::string> flag_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// The verb that the next word without a hyphen names; `at` is then behind that word.
template <class Iterator>
const CLI::App* named_verb(const CLI::App& app, Iterator& at, Iterator end) {
  at = std::find_if(at, end, [](const std::string& text) { return text[0] != '-'; });
  if (at == end) return nullptr;
  const std::vector<const CLI::App*> all = all_verbs(app);
  const auto found = std::ranges::find_if(all, [&](const CLI::App* each) { return each->get_name() == *at; });
  ++at;
  return found == all.end() ? nullptr : *found;
}

// "--max_tokens=5" -> "--max-tokens=5", for names that exist with hyphens only. The value of an option stays as it is.
void accept_underscores(const CLI::App& app, std::vector<std::string>& arguments) {
  auto argument = arguments.begin();
  const CLI::App* verb = named_verb(app, argument, arguments.end());
  if (verb == nullptr) return;
  if (!all_verbs(*verb).empty()) {
    auto behind = argument;
    const CLI::App* part = named_verb(*verb, behind, arguments.end());
    if (part == nullptr && verb->get_require_subcommand_min() > 0) return;
    if (part != nullptr) {
      verb = part;
      argument = behind;
    }
  }
  bool is_value = false;
  for (; argument != arguments.end(); ++argument) {
    if (is_value) {
      is_value = false;
      continue;
    }
    if (*argument == "--") return;
    const size_t equals = argument->starts_with("--") ? argument->find('=') : std::string::npos;
    std::string name = argument->substr(0, equals);
    if (name.starts_with("--") && verb->get_option_no_throw(name) == nullptr) {
      std::ranges::replace(name, '_', '-');
      if (verb->get_option_no_throw(name) != nullptr) argument->replace(0, name.size(), name);
    }
    const CLI::Option* option = verb->get_option_no_throw(name);
    is_value = option != nullptr && equals == std::string::npos && option->get_items_expected_max() > 0;
  }
}

// Verbs that can read a configuration file take options from it and from the environment.
void add_settings(const CLI::App& app, std::vector<std::string>& arguments) {
  if (arguments.empty()) return;
  for (const CLI::App* verb : all_verbs(app)) {
    if (verb->get_name() != arguments[0] || verb->get_option_no_throw("--config") == nullptr) continue;
    if (std::ranges::any_of(arguments, [](const std::string& each) { return each == "--help" || each == "-h"; })) return;
    arguments = with_settings(*verb, std::move(arguments), [](const char* name) { return std::getenv(name); });
    return;
  }
}

[[noreturn]] void refuse_extra(const CLI::App& app, const std::string& verb, const std::string& word) {
  const std::string prefix = verb.empty() ? "" : verb + ": ";
  const std::string hint = verb.empty() ? "quern --help" : "quern " + verb + " --help";
  if (word[0] != '-') raise(usage, "{}unexpected argument '{}' ({} shows what it takes)", prefix, escaped(word, 60), hint);
  const std::string flag = word.substr(0, word.find('='));
  if (verb == "serve" && !foreign_flag_hint(flag).empty()) raise(usage, "{}{}: {}", prefix, flag, foreign_flag_hint(flag));
  const std::string meant = nearest(flag, flag_names(app));
  if (meant.empty()) raise(usage, "{}unknown flag '{}' ({} lists them)", prefix, escaped(flag, 60), hint);
  raise(usage, "{}unknown flag '{}': the nearest is '{}'", prefix, escaped(flag, 60), meant);
}

// `verb`: "" or the verb whose part the word should be, with a space.
[[noreturn]] void refuse_verb(const CLI::App& app, const std::string& verb, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* sub : all_verbs(app)) {
    if (!sub->get_group().empty()) names.push_back(sub->get_name());
  }
  const std::string meant = nearest(word, names);
  if (meant.empty()) raise(usage, "unknown verb '{}{}' (quern {}--help lists them)", verb, escaped(word, 60), verb);
  raise(usage, "unknown verb '{0}{1}': the nearest is '{0}{2}'", verb, escaped(word, 60), meant);
}

}  // namespace

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  if (word.size() > 100) return "";
  std::string best;
  size_t best_distance = word.size() / 3 + 1;
  for (const std::string& candidate : candidates) {
    // "--temp" for "--temperature" is a shortening and not a slip of the fingers.
    const size_t distance = candidate.starts_with(word) && word.size() > 4 ? 1 : edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string parse_command_line(CLI::App& app, std::vector<std::string> arguments) {
  check_arguments(arguments);
  accept_underscores(app, arguments);
  add_settings(app, arguments);
  std::ranges::reverse(arguments);  // CLI11 takes them from the back
  try {
    app.parse(arguments);
    return "";
  } catch (const CLI::CallForVersion&) {
    return app.version() + "\n";
  } catch (const CLI::Success&) {
    const CLI::App* verb = parsed_verb(app);
    if (verb == nullptr) return app.help();
    return verb->help(verb->get_parent()->get_parent() == nullptr ? "quern" : "quern " + verb->get_parent()->get_name());
  } catch (const CLI::ParseError& error) {
    CLI::App* verb = parsed_verb(app);
    if (verb != nullptr && verb->remaining_size() > 0) {
      const std::string word = verb->remaining().front();
      if (!all_verbs(*verb).empty() && word[0] != '-') refuse_verb(*verb, verb->get_name() + " ", word);
      refuse_extra(*verb, full_name(*verb), word);
    }
    if (app.remaining_size() > 0) {
      const std::string word = app.remaining().front();
      if (word[0] == '-') refuse_extra(app, "", word);
      refuse_verb(app, "", word);
    }
    if (verb == nullptr) raise(usage, "want a verb (quern --help lists them)");
    raise(usage, "{0}: {1} (quern {0} --help shows the options)", full_name(*verb), escaped(error.what(), 300));
  }
}

}  // namespace quern
