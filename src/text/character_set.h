// A set of Unicode characters (no surrogates) as sorted ranges, and its UTF-8 as edges of a Grammar. Plain values.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/grammar.h"

namespace quern {

class CharacterSet {
 public:
  struct Range {
    char32_t low, high;  // inclusive
  };
  static constexpr char32_t kLast = 0x10ffff;

  CharacterSet() = default;
  CharacterSet(std::initializer_list<Range> ranges);
  static CharacterSet all() { return {{0, kLast}}; }

  void add(char32_t low, char32_t high);
  void add(const CharacterSet& other);
  CharacterSet without(const CharacterSet& other) const;
  CharacterSet inverted() const { return all().without(*this); }
  bool contains(char32_t c) const;
  bool is_empty() const { return ranges_.empty(); }
  std::span<const Range> ranges() const { return ranges_; }

 private:
  std::vector<Range> ranges_;
};

// One character of `set` from `from` to `to`.
void add_characters(Grammar& grammar, Grammar::Node from, const CharacterSet& set, Grammar::Node to);
// The same inside a JSON string: as it stands, or the one short escape of a quote, a backslash or a control character.
void add_json_characters(Grammar& grammar, Grammar::Node from, const CharacterSet& set, Grammar::Node to);
// Any character inside a JSON string, in each of its spellings.
void add_any_json_character(Grammar& grammar, Grammar::Node from, Grammar::Node to);

}  // namespace quern
