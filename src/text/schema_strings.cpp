#include "text/schema_strings.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "text/character_automaton.h"
#include "text/regular_expression.h"
#include "text/unicode.h"

namespace quern {
namespace {

constexpr size_t kNearEnd = 32;  // characters before a bound: tokens that are longer are looked at one by one

// As RFC 3339, 4122, 5321 (without quoted names), 2673, 4291 and 1123 have them; the forms that programs write.
constexpr std::pair<const char*, const char*> kFormats[] = {
    {"date", R"(\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))"},
    {"time", R"((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d))"},
    {"date-time",
     R"(\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d))"},
    {"duration", R"(P(?:\d{1,9}W|\d{1,9}D(?:T\d{1,9}H)?|T(?:\d{1,9}H(?:\d{1,9}M(?:\d{1,9}S)?)?|\d{1,9}M(?:\d{1,9}S)?|\d{1,9}S)))"},
    {"uuid", R"([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})"},
    {"email",
     R"([a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,32}(?:\.[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,32}){0,3}@(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?\.){1,3}[a-zA-Z]{2,24})"},
    {"ipv4", R"((?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d))"},
    {"ipv6",
     R"((?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|(?:[0-9a-fA-F]{1,4}:){1,6}:[0-9a-fA-F]{1,4}|(?:[0-9a-fA-F]{1,4}:){1,7}:|::(?:[0-9a-fA-F]{1,4})?)"},
    {"hostname", R"((?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.){0,4}[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)"},
    {"uri", R"([a-zA-Z][a-zA-Z0-9+.-]{0,15}:(?:[a-zA-Z0-9._~:/?#@!$&'()*+,;=-]|\[|\]|%[0-9a-fA-F]{2}){1,1000})"},
};

CharacterAutomaton automaton_of(const char* keyword, const std::string& expression, RegexReach reach, size_t least,
                                std::optional<size_t> most) {
  try {
    const CharacterAutomaton automaton = read_regular_expression(expression, reach);
    return least == 0 && !most ? automaton : automaton.of_lengths(least, most);
  } catch (const Error& error) {
    raise(invalid_input, "{}: {}", keyword, error.message());
  }
}

}  // namespace

SchemaStrings::Node SchemaStrings::call(Node from, uint32_t rule) {
  const Node to = grammar_.add_node();
  grammar_.add_call(from, rule, to);
  return to;
}

// A character's nodes follow each other in one order, whichever character of a string it is.
SchemaStrings::Node SchemaStrings::add_any_character(Node from) {
  const Node to = grammar_.add_node();
  add_any_json_character(grammar_, from, to);
  return to;
}

SchemaStrings::Node SchemaStrings::any(Node from) {
  if (!any_rule_) {
    any_rule_ = grammar_.add_rule();
    const Node open = grammar_.add_text(grammar_.rule_start(*any_rule_), "\"");
    loop_ = grammar_.add_node();
    grammar_.add_free(open, loop_);
    const Node behind = add_any_character(loop_);
    grammar_.add_free(behind, loop_);
    character_nodes_ = grammar_.num_nodes() - loop_;
    grammar_.add_bytes(loop_, '"', '"', grammar_.rule_end(*any_rule_));
  }
  return call(from, *any_rule_);
}

SchemaStrings::Node SchemaStrings::of_length(Node from, size_t least, std::optional<size_t> most) {
  if (least == 0 && !most) return any(from);
  if (most && *most < least) raise(invalid_input, "minLength: want at most maxLength");
  any(grammar_.add_node());  // for its nodes
  const uint32_t rule = grammar_.add_rule();
  Node at = grammar_.add_text(grammar_.rule_start(rule), "\"");
  const Node end = grammar_.rule_end(rule);
  const size_t count = most ? *most : least;
  for (size_t i = 0; i < count; ++i) {
    const Node here = grammar_.add_node();
    grammar_.add_free(at, here);
    at = add_any_character(here);
    const size_t rest = count - i;
    if (i >= least) grammar_.add_bytes(here, '"', '"', end);
    if (most && i >= least && rest > kNearEnd) grammar_.set_like(here, character_nodes_, loop_, rest);
  }
  if (!most) {  // any number of further ones
    const Node loop = grammar_.add_node();
    grammar_.add_free(at, loop);
    grammar_.add_free(add_any_character(loop), loop);
    at = loop;
  }
  grammar_.add_bytes(at, '"', '"', end);
  return call(from, rule);
}

SchemaStrings::Node SchemaStrings::of_pattern(Node from, const std::string& pattern, size_t least, std::optional<size_t> most) {
  const CharacterAutomaton automaton = automaton_of("pattern", pattern, RegexReach::anywhere, least, most);
  const uint32_t rule = grammar_.add_rule();
  const Node open = grammar_.add_text(grammar_.rule_start(rule), "\"");
  grammar_.add_bytes(automaton.write(grammar_, open, CharacterAutomaton::Form::json_string), '"', '"', grammar_.rule_end(rule));
  return call(from, rule);
}

SchemaStrings::Node SchemaStrings::of_format(Node from, const std::string& format, size_t least, std::optional<size_t> most) {
  const auto known = std::ranges::find_if(kFormats, [&](const auto& entry) { return format == entry.first; });
  if (known == std::end(kFormats)) {
    std::string names;
    for (const auto& [name, unused] : kFormats) names += (names.empty() ? "" : ", ") + std::string(name);
    raise(invalid_input, "format: want one of {}; found '{}', which is not supported", names, escaped(format, 60));
  }
  const CharacterAutomaton automaton = automaton_of("format", known->second, RegexReach::whole, least, most);
  const uint32_t rule = grammar_.add_rule();
  const Node open = grammar_.add_text(grammar_.rule_start(rule), "\"");
  grammar_.add_bytes(automaton.write(grammar_, open, CharacterAutomaton::Form::json_string), '"', '"', grammar_.rule_end(rule));
  return call(from, rule);
}

// The names as a trie of characters: a string may end anywhere but where a name does, and is free once it has left the trie.
SchemaStrings::Node SchemaStrings::none_of(Node from, const std::vector<std::string>& names) {
  CharacterAutomaton automaton;
  automaton.start = automaton.add_state();
  automaton.end = automaton.add_state();
  const CharacterAutomaton::State free_state = automaton.add_state();
  std::map<CharacterAutomaton::State, std::map<char32_t, CharacterAutomaton::State>> children = {{automaton.start, {}}};
  std::map<CharacterAutomaton::State, bool> is_name;
  for (const std::string& name : names) {
    CharacterAutomaton::State at = automaton.start;
    for (size_t i = 0; i < name.size();) {
      const Character c = character_at(name, i);
      i += c.length;
      const auto [found, is_new] = children[at].try_emplace(c.code_point, 0);
      if (is_new) found->second = automaton.add_state();
      at = found->second;
      children.try_emplace(at);
    }
    is_name[at] = true;
  }
  for (const auto& [state, below] : children) {
    CharacterSet others = CharacterSet::all();
    CharacterSet taken;
    for (const auto& [c, to] : below) {
      taken.add(c, c);
      automaton.add_edge(state, {{c, c}}, to);
    }
    automaton.add_edge(state, others.without(taken), free_state);
    if (!is_name[state]) automaton.add_free(state, automaton.end);
  }
  automaton.add_edge(free_state, CharacterSet::all(), free_state);
  automaton.add_free(free_state, automaton.end);
  const uint32_t rule = grammar_.add_rule();
  const Node open = grammar_.add_text(grammar_.rule_start(rule), "\"");
  grammar_.add_bytes(automaton.write(grammar_, open, CharacterAutomaton::Form::json_string), '"', '"', grammar_.rule_end(rule));
  return call(from, rule);
}

}  // namespace quern
