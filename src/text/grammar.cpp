#include "text/grammar.h"

#include "base/error.h"

namespace quern {

Grammar::Node Grammar::add_node() {
  if (nodes_.size() >= kMaxNodes) raise(invalid_input, "grammar: want at most {} states", kMaxNodes);
  nodes_.emplace_back();
  is_end_.push_back(false);
  return static_cast<Node>(nodes_.size() - 1);
}

uint32_t Grammar::add_rule() {
  const Node start = add_node(), end = add_node();
  is_end_[end] = true;
  rules_.push_back({start, end});
  return static_cast<uint32_t>(rules_.size() - 1);
}

Grammar::Node Grammar::add_text(Node from, std::string_view text) {
  for (const char c : text) {
    const Node to = add_node();
    add_bytes(from, static_cast<uint8_t>(c), static_cast<uint8_t>(c), to);
    from = to;
  }
  return from;
}

// Unicode, table 3-7.
void Grammar::add_wide_character(Node from, Node to) {
  struct Row {
    uint8_t lead_low, lead_high, second_low, second_high;
    int more;  // bytes 80..BF behind the second
  };
  static constexpr Row kRows[] = {{0xc2, 0xdf, 0x80, 0xbf, 0}, {0xe0, 0xe0, 0xa0, 0xbf, 1}, {0xe1, 0xec, 0x80, 0xbf, 1},
                                  {0xed, 0xed, 0x80, 0x9f, 1}, {0xee, 0xef, 0x80, 0xbf, 1}, {0xf0, 0xf0, 0x90, 0xbf, 2},
                                  {0xf1, 0xf3, 0x80, 0xbf, 2}, {0xf4, 0xf4, 0x80, 0x8f, 2}};
  const Node last = add_node(), before_last = add_node();
  add_bytes(last, 0x80, 0xbf, to);
  add_bytes(before_last, 0x80, 0xbf, last);
  for (const Row& row : kRows) {
    const Node second = add_node();
    add_bytes(from, row.lead_low, row.lead_high, second);
    add_bytes(second, row.second_low, row.second_high, row.more == 0 ? to : row.more == 1 ? last : before_last);
  }
}

}  // namespace quern
