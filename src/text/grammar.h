// What an answer may be, byte by byte: rules that call each other, as networks of nodes. Built by json_schema.h, read by TokenMasks.
// Plain data; immutable once built.
#pragma once
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace quern {

class Grammar {
 public:
  using Node = uint32_t;
  static constexpr size_t kMaxNodes = 400'000;

  struct Edge {
    enum class Kind : uint8_t { bytes, free, call } kind;
    uint8_t low = 0, high = 0;  // bytes: inclusive
    Node to = 0;                // where it goes on; call: after the rule has ended
    uint32_t rule = 0;          // call
  };

  // Rule 0 is the whole answer.
  uint32_t add_rule();
  Node rule_start(uint32_t rule) const { return rules_[rule].start; }
  Node rule_end(uint32_t rule) const { return rules_[rule].end; }

  // Each throws invalid_input when the grammar grows beyond kMaxNodes.
  Node add_node();
  void add_free(Node from, Node to) { nodes_[from].push_back({.kind = Edge::Kind::free, .to = to}); }
  void add_bytes(Node from, uint8_t low, uint8_t high, Node to) { nodes_[from].push_back({Edge::Kind::bytes, low, high, to, 0}); }
  void add_call(Node from, uint32_t rule, Node to) { nodes_[from].push_back({Edge::Kind::call, 0, 0, to, rule}); }
  // `text` from `from` on; the node behind it.
  Node add_text(Node from, std::string_view text);
  // One character of UTF-8 from U+0080 on, any.
  void add_wide_character(Node from, Node to);

  size_t num_nodes() const { return nodes_.size(); }
  const std::vector<Edge>& edges(Node node) const { return nodes_[node]; }
  // The rule that ends at `node`, if any does.
  bool ends_rule(Node node) const { return is_end_[node]; }

 private:
  struct Rule {
    Node start, end;
  };
  std::vector<std::vector<Edge>> nodes_;
  std::vector<bool> is_end_;
  std::vector<Rule> rules_;
};

}  // namespace quern
