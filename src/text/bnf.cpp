#include "text/bnf.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "text/character_set.h"
#include "text/unicode.h"

namespace quern {
namespace {

constexpr size_t kMaxBytes = size_t{64} << 10, kMaxRepeats = 4096, kMaxRules = 2000;
constexpr int kMaxDepth = 100;

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

class Reader {
 public:
  using Node = Grammar::Node;

  explicit Reader(std::string_view text) : text_(text) {
    if (text.size() > kMaxBytes) raise(invalid_input, "want at most {} bytes of grammar, found {}", kMaxBytes, text.size());
    if (utf8_first_invalid(text) != text.npos) raise(invalid_input, "want UTF-8");
    rule_of("root");  // rule 0
  }

  Grammar read() {
    for (skip_space(true); at_ < text_.size(); skip_space(true)) read_rule();
    for (const auto& [name, rule] : rules_) {
      if (!rule.is_defined) raise(invalid_input, "line {}: want a rule '{}', found none", rule.line, escaped(name, 60));
    }
    if (const auto rule = grammar_.left_recursive_rule()) {
      const auto named = std::ranges::find_if(rules_, [&](const auto& entry) { return entry.second.id == *rule; });
      raise(invalid_input, "rule '{}': want a rule that does not begin with itself",
            named == rules_.end() ? "" : escaped(named->first, 60));
    }
    return std::move(grammar_);
  }

 private:
  struct Rule {
    uint32_t id;
    bool is_defined = false;
    size_t line = 1;  // of its first use
  };

  size_t line() const { return 1 + static_cast<size_t>(std::ranges::count(text_.substr(0, at_), '\n')); }
  [[noreturn]] void refuse(const char* wanted) const {
    const std::string found = at_ < text_.size() ? fmt::format("'{}'", escaped(text_.substr(at_, 12))) : "the end";
    raise(invalid_input, "line {}: want {}, found {}", line(), wanted, found);
  }
  bool takes(std::string_view token) {
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  bool is_at(char c) const { return at_ < text_.size() && text_[at_] == c; }
  void skip_space(bool over_lines) {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (c == ' ' || c == '\t' || (over_lines && (c == '\n' || c == '\r'))) {
        ++at_;
      } else {
        return;
      }
    }
  }

  std::string name() {
    const size_t begin = at_;
    while (at_ < text_.size() && is_name_character(text_[at_])) ++at_;
    if (at_ == begin) refuse("the name of a rule");
    return std::string(text_.substr(begin, at_ - begin));
  }
  Rule& rule_of(const std::string& name) {
    const auto found = rules_.find(name);
    if (found != rules_.end()) return found->second;
    if (rules_.size() >= kMaxRules) refuse("fewer rules");
    return rules_.emplace(name, Rule{.id = grammar_.add_rule(), .line = line()}).first->second;
  }
  Node separate(Node from) {
    const Node to = grammar_.add_node();
    grammar_.add_free(from, to);
    return to;
  }

  void read_rule() {
    const size_t begin = at_;
    const std::string named = name();
    skip_space(false);
    if (!takes("::=")) refuse("::=");
    Rule& rule = rule_of(named);
    if (rule.is_defined) at_ = begin, refuse("one rule of this name");
    rule.is_defined = true;
    const uint32_t id = rule.id;
    skip_space(true);
    grammar_.add_free(alternatives(grammar_.rule_start(id), 0), grammar_.rule_end(id));
    skip_space(false);
    if (at_ < text_.size() && !is_at('\n') && !is_at('\r')) refuse("the end of the rule");
  }

  Node alternatives(Node from, int depth) {
    if (depth > kMaxDepth) refuse("groups that are nested less deep");
    const Node to = grammar_.add_node();
    do {
      skip_space(true);
      grammar_.add_free(sequence(separate(from), depth), to);
      if (depth > 0) skip_space(true);
    } while (takes("|"));
    return to;
  }

  Node sequence(Node from, int depth) {
    for (skip_space(depth > 0); at_ < text_.size() && !is_at('|') && !is_at(')') && !is_at('\n') && !is_at('\r'); skip_space(depth > 0)) {
      const size_t begin = at_;
      const Node start = separate(from);
      from = element(start, depth);
      if (at_ < text_.size() && std::string_view("*+?{").find(text_[at_]) != std::string_view::npos)
        from = repeated(start, from, begin, depth);
    }
    return from;
  }

  // The element that was read once, from `first` to `behind`, any number of times; further copies are read from its text again.
  Node repeated(Node first, Node behind, size_t begin, int depth) {
    size_t least = 0;
    std::optional<size_t> most;
    if (takes("+")) {
      least = 1;
    } else if (takes("?")) {
      most = 1;
    } else if (!takes("*")) {
      ++at_;
      least = number();
      skip_space(false);
      if (takes(",")) {
        skip_space(false);
        if (!is_at('}')) most = number();
      } else {
        most = least;
      }
      skip_space(false);
      if (!takes("}")) refuse("'}'");
      if (most && *most < least) refuse("a second number that is not smaller, in a repeat that stands");
    }
    const size_t end = at_;
    const auto copy = [&](Node from) {
      at_ = begin;
      const Node to = element(from, depth);
      at_ = end;
      return to;
    };
    const Node to = grammar_.add_node();
    if (least == 0) grammar_.add_free(first, to);
    if (most == 0) return to;
    for (size_t i = 1; i < least; ++i) {
      first = separate(behind);
      behind = copy(first);
    }
    grammar_.add_free(behind, to);
    if (!most) {
      grammar_.add_free(behind, first);
      return to;
    }
    for (size_t i = std::max<size_t>(least, 1); i < *most; ++i) {
      behind = copy(separate(behind));
      grammar_.add_free(behind, to);
    }
    return to;
  }

  size_t number() {
    const size_t begin = at_;
    size_t value = 0;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      value = std::min(value * 10 + static_cast<size_t>(text_[at_++] - '0'), kMaxRepeats + 1);
    }
    if (at_ == begin) refuse("a number of repeats");
    if (value > kMaxRepeats) raise(invalid_input, "line {}: want at most {} repeats", line(), kMaxRepeats);
    return value;
  }

  Node element(Node from, int depth) {
    if (takes("\"")) return text(from);
    if (takes("[")) return character_class(from);
    if (takes(".")) return characters(from, CharacterSet::all());
    if (takes("(")) {
      const Node to = alternatives(from, depth + 1);
      if (!takes(")")) refuse("')'");
      return to;
    }
    if (at_ >= text_.size() || !is_name_character(text_[at_])) refuse("a text, a class, a group or the name of a rule");
    const Node to = grammar_.add_node();
    grammar_.add_call(from, rule_of(name()).id, to);
    return to;
  }

  Node characters(Node from, const CharacterSet& set) {
    const Node to = grammar_.add_node();
    add_characters(grammar_, from, set, to);
    return to;
  }

  Node text(Node from) {
    while (!takes("\"")) {
      if (at_ >= text_.size() || is_at('\n')) refuse("'\"'");
      const char32_t c = character();
      from = characters(from, {{c, c}});
    }
    return from;
  }

  Node character_class(Node from) {
    const bool is_inverted = takes("^");
    CharacterSet set;
    while (!takes("]")) {
      if (at_ >= text_.size() || is_at('\n')) refuse("']'");
      const char32_t low = character();
      char32_t high = low;
      if (is_at('-') && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        high = character();
        if (high < low) refuse("a range to a character that is not before its first");
      }
      set.add(low, high);
    }
    if (is_inverted) set = set.inverted();
    if (set.is_empty()) refuse("a class with a character in it");
    return characters(from, set);
  }

  char32_t hex(size_t digits) {
    char32_t value = 0;
    for (size_t i = 0; i < digits; ++i) {
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      if (digit < 0 || value > CharacterSet::kLast) refuse("the hexadecimal digits of a character");
      value = value * 16 + static_cast<char32_t>(digit);
      ++at_;
    }
    if (value > CharacterSet::kLast || (value >= 0xd800 && value <= 0xdfff)) refuse("a character before this");
    return value;
  }

  char32_t character() {
    if (!takes("\\")) {
      const Character c = character_at(text_, at_);
      at_ += c.length;
      return c.code_point;
    }
    if (takes("x")) return hex(2);
    if (takes("u")) return hex(4);
    if (takes("U")) return hex(8);
    for (const auto& [letter, value] : {std::pair{"n", '\n'}, {"r", '\r'}, {"t", '\t'}}) {
      if (takes(letter)) return static_cast<char32_t>(value);
    }
    for (const char* plain : {"\\", "\"", "[", "]", "-", "^", "'", "/"}) {
      if (takes(plain)) return static_cast<char32_t>(plain[0]);
    }
    refuse("one of n, r, t, x, u, U, a quote, a bracket or \\ behind \\");
  }

  std::string_view text_;
  size_t at_ = 0;
  Grammar grammar_;
  std::map<std::string, Rule, std::less<>> rules_;
};

}  // namespace

Grammar read_bnf(std::string_view text) { return Reader(text).read(); }

}  // namespace quern
