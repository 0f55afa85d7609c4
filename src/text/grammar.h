// What an answer may be, byte by byte: rules that call each other, as networks of nodes. Built by json_schema.h, bnf.h and
// character_automaton.h, read by TokenMasks.
// Plain data; immutable once built.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
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
  // From `from` to `to` by one of `texts`, whose common beginnings share nodes.
  void add_texts(Node from, const std::vector<std::string>& texts, Node to);

  // `count` nodes from `first` on do what those from `like` on do, for tokens of at most `num_bytes` bytes: a hint that saves work.
  void set_like(Node first, size_t count, Node like, size_t num_bytes);
  struct Likeness {
    Node node;
    size_t num_bytes;
  };
  std::optional<Likeness> likeness(Node node) const;

  size_t num_rules() const { return rules_.size(); }
  // A rule that calls itself before it has read anything, if there is one.
  std::optional<uint32_t> left_recursive_rule() const;

  size_t num_nodes() const { return nodes_.size(); }
  const std::vector<Edge>& edges(Node node) const { return nodes_[node]; }
  // The rule that ends at `node`, if any does.
  bool ends_rule(Node node) const { return is_end_[node]; }

 private:
  struct Rule {
    Node start, end;
  };
  struct LikeNodes {
    Node first, like;
    size_t count, num_bytes;
  };
  // Nodes that a rule reaches without reading; calls of rules for which `is_empty` holds are passed over.
  std::vector<Node> reached_unread(uint32_t rule, const std::vector<bool>& is_empty) const;
  std::vector<std::vector<Edge>> nodes_;
  std::vector<bool> is_end_;
  std::vector<Rule> rules_;
  std::vector<LikeNodes> like_nodes_;  // by first
};

}  // namespace quern
