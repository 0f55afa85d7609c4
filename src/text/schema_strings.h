// The strings of a JSON schema, with their quotes: any, of bounded length, by pattern or format, or none of some names. One grammar's.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "text/grammar.h"

namespace quern {

inline constexpr size_t kMaxStringBound = 4096;

class SchemaStrings {
 public:
  using Node = Grammar::Node;
  explicit SchemaStrings(Grammar& grammar) : grammar_(grammar) {}

  // Each writes from `from` to the node that is returned, and throws invalid_input "<keyword>: ..." for what is not supported.
  Node any(Node from);
  Node of_length(Node from, size_t least, std::optional<size_t> most);
  Node of_pattern(Node from, const std::string& pattern, size_t least, std::optional<size_t> most);
  Node of_format(Node from, const std::string& format, size_t least, std::optional<size_t> most);
  // Any string but `names`.
  Node none_of(Node from, const std::vector<std::string>& names);

 private:
  Node call(Node from, uint32_t rule);
  Node add_any_character(Node from);

  Grammar& grammar_;
  std::optional<uint32_t> any_rule_;
  Node loop_ = 0;  // of any_rule_: behind any number of characters
  size_t character_nodes_ = 0;
};

}  // namespace quern
