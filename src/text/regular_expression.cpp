#include "text/regular_expression.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "base/error.h"
#include "base/utf8.h"
#include "text/unicode.h"

namespace quern {
namespace {

constexpr size_t kMaxBytes = size_t{16} << 10, kMaxRepeats = 4096;
constexpr int kMaxDepth = 100;

// A part of an expression.
struct Part {
  enum class Kind { set, sequence, alternatives, repeat, start_anchor, end_anchor } kind = Kind::sequence;
  CharacterSet set = {};
  std::vector<Part> parts = {};
  size_t least = 0;
  std::optional<size_t> most = {};  // absent: any number
};

CharacterSet class_of_bits(uint8_t bits) {
  CharacterSet set;
  char32_t begin = CharacterSet::kLast + 1;
  for (char32_t c = 0; c <= CharacterSet::kLast + 1; ++c) {
    const bool is_in = c <= CharacterSet::kLast && (character_bits(c) & bits) != 0;
    if (is_in && begin > CharacterSet::kLast) begin = c;
    if (!is_in && begin <= CharacterSet::kLast) set.add(begin, c - 1), begin = CharacterSet::kLast + 1;
  }
  return set;
}

std::optional<CharacterSet> named_class(char c) {
  static const CharacterSet kDigits{{'0', '9'}}, kWords{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
      kSpaces{{'\t', '\r'},     {' ', ' '},       {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
              {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
  switch (c) {
    case 'd': return kDigits;
    case 'D': return kDigits.inverted();
    case 'w': return kWords;
    case 'W': return kWords.inverted();
    case 's': return kSpaces;
    case 'S': return kSpaces.inverted();
    default: return std::nullopt;
  }
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {
    if (text.size() > kMaxBytes) raise(invalid_input, "want at most {} bytes of expression, found {}", kMaxBytes, text.size());
    if (utf8_first_invalid(text) != text.npos) raise(invalid_input, "want UTF-8");
  }

  Part read() {
    Part part = alternatives(0);
    if (at_ < text_.size()) refuse("the end, or a group that this closes");
    return part;
  }

 private:
  [[noreturn]] void refuse(const char* wanted) const {
    const std::string found = at_ < text_.size() ? fmt::format("'{}'", escaped(text_.substr(at_, 8))) : "the end";
    raise(invalid_input, "offset {}: want {}, found {}", at_, wanted, found);
  }
  bool takes(std::string_view token) {
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  char32_t character() {
    if (at_ >= text_.size()) refuse("a character");
    const Character c = character_at(text_, at_);
    at_ += c.length;
    return c.code_point;
  }

  Part alternatives(int depth) {
    if (depth > kMaxDepth) refuse("groups that are nested less deep");
    Part all{.kind = Part::Kind::alternatives};
    do {
      all.parts.push_back(sequence(depth));
    } while (takes("|"));
    return all;
  }

  Part sequence(int depth) {
    Part all{.kind = Part::Kind::sequence};
    while (at_ < text_.size() && text_[at_] != '|' && text_[at_] != ')') {
      Part part = atom(depth);
      if (at_ < text_.size() && std::string_view("*+?{").find(text_[at_]) != std::string_view::npos) {
        if (part.kind == Part::Kind::start_anchor || part.kind == Part::Kind::end_anchor) refuse("something to repeat");
        part = repeat(part);
      }
      all.parts.push_back(std::move(part));
    }
    return all;
  }

  Part repeat(const Part& part) {
    Part repeated{.kind = Part::Kind::repeat, .parts = {part}};
    if (takes("*")) {
    } else if (takes("+")) {
      repeated.least = 1;
    } else if (takes("?")) {
      repeated.most = 1;
    } else {
      const size_t begin = at_++;
      const std::optional<size_t> least = number();
      const bool has_comma = takes(",");
      const std::optional<size_t> most = has_comma ? number() : least;
      if ((!least && !(has_comma && most)) || !takes("}")) {
        at_ = begin;
        refuse("a repeat {n}, {n,}, {,n} or {m,n}, or \\{");
      }
      repeated.least = least.value_or(0);
      repeated.most = most;
      if (repeated.most && *repeated.most < repeated.least) refuse("a repeat whose second number is not smaller");
    }
    if (at_ < text_.size() && (text_[at_] == '?' || text_[at_] == '+')) {  // lazy takes the same texts; possessive would need memory
      if (text_[at_] == '+') refuse("a repeat that is not possessive");
      ++at_;
    }
    return repeated;
  }

  std::optional<size_t> number() {
    const size_t begin = at_;
    size_t value = 0;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      value = std::min(value * 10 + static_cast<size_t>(text_[at_++] - '0'), kMaxRepeats + 1);
    }
    if (value > kMaxRepeats) raise(invalid_input, "offset {}: want at most {} repeats", begin, kMaxRepeats);
    return at_ == begin ? std::nullopt : std::optional(value);
  }

  Part atom(int depth) {
    if (takes("^")) return {.kind = Part::Kind::start_anchor};
    if (takes("$")) return {.kind = Part::Kind::end_anchor};
    if (takes("(")) {
      open_group();
      Part group = alternatives(depth + 1);
      if (!takes(")")) refuse("')'");
      return group;
    }
    if (takes("[")) return {.kind = Part::Kind::set, .set = character_class()};
    if (takes(".")) return {.kind = Part::Kind::set, .set = CharacterSet{{'\n', '\n'}, {'\r', '\r'}}.inverted()};
    if (text_[at_] == '\\') return {.kind = Part::Kind::set, .set = escape(false)};
    if (std::string_view("*+?{").find(text_[at_]) != std::string_view::npos) refuse("something to repeat");
    const char32_t c = character();
    return {.kind = Part::Kind::set, .set = {{c, c}}};
  }

  void open_group() {
    if (!takes("?")) return;
    if (takes(":")) return;
    takes("P");
    const size_t begin = at_;
    if (takes("<") && !text_.substr(at_).starts_with("=") && !text_.substr(at_).starts_with("!")) {
      const size_t end = text_.find('>', at_);
      if (end != text_.npos) {
        at_ = end + 1;
        return;
      }
    }
    at_ = begin;
    refuse("a plain group, (?:...) or (?<name>...)");
  }

  char32_t hex(size_t digits) {
    char32_t value = 0;
    for (size_t i = 0; i < digits; ++i) {
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      if (digit < 0) refuse("a hexadecimal digit");
      value = value * 16 + static_cast<char32_t>(digit);
      ++at_;
    }
    return value;
  }

  char32_t code_point() {
    if (!takes("{")) return hex(4);
    const size_t end = text_.find('}', at_);
    if (end == text_.npos || end == at_ || end - at_ > 6) refuse("1 to 6 hexadecimal digits and '}'");
    const char32_t c = hex(end - at_);
    if (c > CharacterSet::kLast) refuse("at most 10FFFF");
    ++at_;
    return c;
  }

  CharacterSet property(bool is_inverted) {
    for (const auto& [name, bits] : {std::pair<const char*, uint8_t>{"{L}", kLetterBit}, {"{Letter}", kLetterBit}, {"{N}", kNumberBit}}) {
      if (takes(name)) return is_inverted ? class_of_bits(bits).inverted() : class_of_bits(bits);
    }
    refuse("{L} or {N}");
  }

  // What a backslash begins.
  CharacterSet escape(bool in_class) {
    ++at_;
    if (at_ >= text_.size()) refuse("a character behind \\");
    const char c = text_[at_];
    if (const auto named = named_class(c)) {
      ++at_;
      return *named;
    }
    const auto one = [](char32_t value) { return CharacterSet{{value, value}}; };
    static constexpr std::pair<char, char32_t> kControls[] = {{'n', '\n'}, {'r', '\r'}, {'t', '\t'}, {'f', '\f'}, {'v', '\v'}, {'0', 0}};
    for (const auto& [letter, value] : kControls) {
      if (c == letter) return ++at_, one(value);
    }
    if (in_class && c == 'b') return ++at_, one('\b');
    if (takes("x")) return one(hex(2));
    if (takes("u")) return one(code_point());
    if (takes("p")) return property(false);
    if (takes("P")) return property(true);
    const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '1' && c <= '9');
    if (is_letter) refuse("an escape other than this (word boundaries and references to groups are not supported)");
    return one(character());
  }

  CharacterSet character_class() {
    const bool is_inverted = takes("^");
    CharacterSet set;
    for (bool is_first = true;; is_first = false) {
      if (at_ >= text_.size()) refuse("']'");
      if (!is_first && takes("]")) break;
      if (is_first && text_[at_] == ']') {  // an empty class in JavaScript, a bracket elsewhere
        refuse("a character, or \\]");
      }
      const CharacterSet low = class_item();
      const bool is_range = at_ + 1 < text_.size() && text_[at_] == '-' && text_[at_ + 1] != ']';
      if (!is_range) {
        set.add(low);
        continue;
      }
      ++at_;
      const CharacterSet high = class_item();
      const bool are_single = low.ranges().size() == 1 && high.ranges().size() == 1 && low.ranges()[0].low == low.ranges()[0].high &&
                              high.ranges()[0].low == high.ranges()[0].high;
      if (!are_single || low.ranges()[0].low > high.ranges()[0].low) refuse("a range from a character to one that is not before it");
      set.add(low.ranges()[0].low, high.ranges()[0].low);
    }
    return is_inverted ? set.inverted() : set;
  }
  CharacterSet class_item() {
    if (at_ < text_.size() && text_[at_] == '\\') return escape(true);
    const char32_t c = character();
    return {{c, c}};
  }

  std::string_view text_;
  size_t at_ = 0;
};

// Writes parts into an automaton. Anchors are known at the two ends only.
class Builder {
 public:
  using State = CharacterAutomaton::State;

  CharacterAutomaton build(const Part& whole, RegexReach reach) {
    automaton_.start = automaton_.add_state();
    automaton_.end = automaton_.add_state();
    for (const Part& alternative : whole.parts) {
      std::vector<Part> parts = alternative.parts;
      const bool has_start = !parts.empty() && parts.front().kind == Part::Kind::start_anchor;
      if (has_start) parts.erase(parts.begin());
      const bool has_end = !parts.empty() && parts.back().kind == Part::Kind::end_anchor;
      if (has_end) parts.pop_back();
      State at = automaton_.add_state();
      automaton_.add_free(automaton_.start, at);
      if (reach == RegexReach::anywhere && !has_start) automaton_.add_edge(at, CharacterSet::all(), at);
      for (const Part& part : parts) at = write(part, at);
      State last = automaton_.add_state();
      automaton_.add_free(at, last);
      if (reach == RegexReach::anywhere && !has_end) automaton_.add_edge(last, CharacterSet::all(), last);
      automaton_.add_free(last, automaton_.end);
    }
    return std::move(automaton_);
  }

 private:
  State behind(State from) {
    const State to = automaton_.add_state();
    automaton_.add_free(from, to);
    return to;
  }

  State write(const Part& part, State from) {
    switch (part.kind) {
      case Part::Kind::set: {
        const State to = automaton_.add_state();
        automaton_.add_edge(from, part.set, to);
        return to;
      }
      case Part::Kind::sequence:
        for (const Part& each : part.parts) from = write(each, from);
        return from;
      case Part::Kind::alternatives: {
        const State to = automaton_.add_state();
        for (const Part& each : part.parts) automaton_.add_free(write(each, behind(from)), to);
        return to;
      }
      case Part::Kind::repeat: return repeat(part, from);
      case Part::Kind::start_anchor:
      case Part::Kind::end_anchor: break;
    }
    raise(invalid_input, "want ^ and $ at the ends of the expression only");
  }

  State repeat(const Part& part, State from) {
    for (size_t i = 0; i < part.least; ++i) from = write(part.parts[0], from);
    if (!part.most) {
      const State loop = behind(from);
      automaton_.add_free(write(part.parts[0], loop), loop);
      return behind(loop);
    }
    const State to = automaton_.add_state();
    for (size_t i = part.least; i < *part.most; ++i) {
      automaton_.add_free(from, to);
      from = write(part.parts[0], behind(from));
    }
    automaton_.add_free(from, to);
    return to;
  }

  CharacterAutomaton automaton_;
};

}  // namespace

CharacterAutomaton read_regular_expression(std::string_view expression, RegexReach reach) {
  return Builder().build(Reader(expression).read(), reach);
}

}  // namespace quern
