#include "text/character_set.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "base/utf8.h"

namespace quern {
namespace {

constexpr CharacterSet::Range kSurrogates{0xd800, 0xdfff};

std::string encode(char32_t c) {
  std::string bytes;
  utf8_append(bytes, c);
  return bytes;
}

bool all_are(std::string_view bytes, char value) { return bytes.find_first_not_of(value) == bytes.npos; }

// The sequences from `low` to `high`, which are of one length; at most four deep.
void add_sequences(Grammar& grammar, Grammar::Node from, std::string_view low, std::string_view high, Grammar::Node to) {
  int first = static_cast<uint8_t>(low[0]), last = static_cast<uint8_t>(high[0]);
  if (low.size() == 1) return grammar.add_bytes(from, static_cast<uint8_t>(first), static_cast<uint8_t>(last), to);
  const std::string least(low.size() - 1, '\x80'), most(low.size() - 1, '\xbf');
  const auto under = [&](int begin, int end, std::string_view rest_low, std::string_view rest_high) {
    const Grammar::Node middle = grammar.add_node();
    grammar.add_bytes(from, static_cast<uint8_t>(begin), static_cast<uint8_t>(end), middle);
    add_sequences(grammar, middle, rest_low, rest_high, to);
  };
  if (first == last) return under(first, last, low.substr(1), high.substr(1));
  if (!all_are(low.substr(1), '\x80')) under(first, first, low.substr(1), most), ++first;
  if (!all_are(high.substr(1), '\xbf')) under(last, last, least, high.substr(1)), --last;
  if (first <= last) under(first, last, least, most);
}

}  // namespace

CharacterSet::CharacterSet(std::initializer_list<Range> ranges) {
  for (const Range& range : ranges) add(range.low, range.high);
}

void CharacterSet::add(char32_t low, char32_t high) {
  if (low < kSurrogates.low && high > kSurrogates.high) {
    add(low, kSurrogates.low - 1);
    low = kSurrogates.high + 1;
  } else if (low >= kSurrogates.low && low <= kSurrogates.high) {
    low = kSurrogates.high + 1;
  } else if (high >= kSurrogates.low && high <= kSurrogates.high) {
    high = kSurrogates.low - 1;
  }
  if (low > high) return;
  std::vector<Range> merged;
  for (const Range& range : ranges_) {
    if (range.high + 1 < low || high + 1 < range.low) {
      merged.push_back(range);
    } else {
      low = std::min(low, range.low);
      high = std::max(high, range.high);
    }
  }
  const auto place = std::ranges::lower_bound(merged, low, {}, &Range::low);
  merged.insert(place, {low, high});
  ranges_ = std::move(merged);
}

void CharacterSet::add(const CharacterSet& other) {
  for (const Range& range : other.ranges_) add(range.low, range.high);
}

CharacterSet CharacterSet::without(const CharacterSet& other) const {
  CharacterSet result;
  for (Range range : ranges_) {
    for (const Range& cut : other.ranges_) {
      if (cut.high < range.low || cut.low > range.high) continue;
      if (cut.low > range.low) result.add(range.low, cut.low - 1);
      range.low = cut.high + 1;
      if (range.low > range.high) break;
    }
    if (range.low <= range.high) result.add(range.low, range.high);
  }
  return result;
}

bool CharacterSet::contains(char32_t c) const {
  return std::ranges::any_of(ranges_, [c](const Range& range) { return range.low <= c && c <= range.high; });
}

void add_characters(Grammar& grammar, Grammar::Node from, const CharacterSet& set, Grammar::Node to) {
  static constexpr char32_t kEnds[] = {0x7f, 0x7ff, 0xffff, CharacterSet::kLast};  // of encodings of one length
  for (const CharacterSet::Range& range : set.ranges()) {
    char32_t low = range.low;
    for (const char32_t end : kEnds) {
      if (low > end || low > range.high) continue;
      add_sequences(grammar, from, encode(low), encode(std::min(end, range.high)), to);
      low = end + 1;
    }
  }
}

void add_json_characters(Grammar& grammar, Grammar::Node from, const CharacterSet& set, Grammar::Node to) {
  static const CharacterSet kEscaped{{0, 0x1f}, {'"', '"'}, {'\\', '\\'}};
  add_characters(grammar, from, set.without(kEscaped), to);
  Grammar::Node escape = 0;
  const auto escaped_text = [&](std::string_view text) {
    if (escape == 0) escape = grammar.add_text(from, "\\");
    grammar.add_free(grammar.add_text(escape, text), to);
  };
  for (const auto& [c, letter] :
       {std::pair{U'"', "\""}, {U'\\', "\\"}, {U'\b', "b"}, {U'\f', "f"}, {U'\n', "n"}, {U'\r', "r"}, {U'\t', "t"}}) {
    if (set.contains(c)) escaped_text(letter);
  }
  for (char32_t c = 0; c < 0x20; ++c) {
    const bool has_letter = c == '\b' || c == '\f' || c == '\n' || c == '\r' || c == '\t';
    if (!has_letter && set.contains(c)) escaped_text(fmt::format("u{:04x}", static_cast<uint32_t>(c)));
  }
}

void add_any_json_character(Grammar& grammar, Grammar::Node from, Grammar::Node to) {
  static const CharacterSet kPlain = CharacterSet::all().without({{0, 0x1f}, {'"', '"'}, {'\\', '\\'}});
  add_characters(grammar, from, kPlain, to);
  const Grammar::Node escape = grammar.add_text(from, "\\");
  for (const char c : std::string_view("\"\\/bfnrt")) grammar.add_bytes(escape, static_cast<uint8_t>(c), static_cast<uint8_t>(c), to);
  // Half of a surrogate pair is no character: \uD... goes up to D7FF.
  const Grammar::Node digits = grammar.add_text(escape, "u"), second = grammar.add_node(), second_of_d = grammar.add_node(),
                      third = grammar.add_node(), last = grammar.add_node();
  const auto add = [&](Grammar::Node at, std::string_view ranges, Grammar::Node next) {
    for (size_t i = 0; i < ranges.size(); i += 2)
      grammar.add_bytes(at, static_cast<uint8_t>(ranges[i]), static_cast<uint8_t>(ranges[i + 1]), next);
  };
  add(digits, "09ACEFacef", second);
  add(digits, "DDdd", second_of_d);
  add(second, "09AFaf", third);
  add(second_of_d, "07", third);
  add(third, "09AFaf", last);
  add(last, "09AFaf", to);
}

}  // namespace quern
