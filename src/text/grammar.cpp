#include "text/grammar.h"

#include <algorithm>
#include <map>
#include <set>

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

void Grammar::add_texts(Node from, const std::vector<std::string>& texts, Node to) {
  std::map<std::pair<Node, char>, Node> children;
  for (const std::string& text : texts) {
    Node at = from;
    for (const char c : text) {
      const auto [found, is_new] = children.try_emplace({at, c}, 0);
      if (is_new) {
        found->second = add_node();
        add_bytes(at, static_cast<uint8_t>(c), static_cast<uint8_t>(c), found->second);
      }
      at = found->second;
    }
    add_free(at, to);
  }
}

void Grammar::set_like(Node first, size_t count, Node like, size_t num_bytes) {
  CHECK(like_nodes_.empty() || like_nodes_.back().first + like_nodes_.back().count <= first, "likenesses come in the order of their nodes");
  like_nodes_.push_back({first, like, count, num_bytes});
}

std::optional<Grammar::Likeness> Grammar::likeness(Node node) const {
  const auto after = std::ranges::upper_bound(like_nodes_, node, {}, &LikeNodes::first);
  if (after == like_nodes_.begin()) return std::nullopt;
  const LikeNodes& nodes = *std::prev(after);
  if (node - nodes.first >= nodes.count) return std::nullopt;
  return Likeness{nodes.like + (node - nodes.first), nodes.num_bytes};
}

std::vector<Grammar::Node> Grammar::reached_unread(uint32_t rule, const std::vector<bool>& is_empty) const {
  std::vector<Node> reached = {rules_[rule].start};
  std::set<Node> seen = {rules_[rule].start};
  for (size_t i = 0; i < reached.size(); ++i) {
    for (const Edge& edge : nodes_[reached[i]]) {
      const bool passes = edge.kind == Edge::Kind::free || (edge.kind == Edge::Kind::call && is_empty[edge.rule]);
      if (passes && seen.insert(edge.to).second) reached.push_back(edge.to);
    }
  }
  return reached;
}

std::optional<uint32_t> Grammar::left_recursive_rule() const {
  std::vector<bool> is_empty(rules_.size());  // the rule may read nothing
  for (bool has_changed = true; has_changed;) {
    has_changed = false;
    for (uint32_t rule = 0; rule < rules_.size(); ++rule) {
      if (is_empty[rule]) continue;
      const std::vector<Node> reached = reached_unread(rule, is_empty);
      if (std::ranges::find(reached, rules_[rule].end) == reached.end()) continue;
      is_empty[rule] = has_changed = true;
    }
  }
  std::vector<std::set<uint32_t>> calls(rules_.size());  // before anything is read
  for (uint32_t rule = 0; rule < rules_.size(); ++rule) {
    for (const Node node : reached_unread(rule, is_empty)) {
      for (const Edge& edge : nodes_[node]) {
        if (edge.kind == Edge::Kind::call) calls[rule].insert(edge.rule);
      }
    }
  }
  // Rules that call no others first go, then those that call only such; what is left goes round.
  std::vector<bool> is_done(rules_.size());
  for (bool has_changed = true; has_changed;) {
    has_changed = false;
    for (uint32_t rule = 0; rule < rules_.size(); ++rule) {
      if (is_done[rule] || !std::ranges::all_of(calls[rule], [&](uint32_t called) { return is_done[called]; })) continue;
      is_done[rule] = has_changed = true;
    }
  }
  const auto found = std::ranges::find(is_done, false);
  return found == is_done.end() ? std::nullopt : std::optional(static_cast<uint32_t>(found - is_done.begin()));
}

}  // namespace quern
