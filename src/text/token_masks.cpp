#include "text/token_masks.h"

#include <algorithm>
#include <unordered_set>

#include "base/error.h"

namespace quern {
namespace {

constexpr uint32_t kMaxDepth = 400;        // of calls: 64 levels of JSON take a few each
constexpr size_t kMaxStacksAtOnce = 4096;  // alternatives that are followed side by side
constexpr size_t kMaxStates = 2'000'000;

}  // namespace

TokenTrie::TokenTrie(const Tokenizer& tokenizer) : num_tokens_(tokenizer.num_tokens()) {
  std::vector<TokenId> ids;
  for (size_t id = 0; id < num_tokens_; ++id) {
    const auto token = static_cast<TokenId>(id);
    if (!tokenizer.is_control(token) && !tokenizer.bytes(token).empty()) ids.push_back(token);
  }
  std::ranges::sort(ids, [&](TokenId a, TokenId b) { return tokenizer.bytes(a) < tokenizer.bytes(b); });
  std::vector<uint32_t> open;  // nodes of the path to the token before
  std::string_view before;
  for (const TokenId id : ids) {
    const std::string_view bytes = tokenizer.bytes(id);
    const size_t common = static_cast<size_t>(std::ranges::mismatch(before, bytes).in1 - before.begin());
    for (; open.size() > common; open.pop_back()) nodes_[open.back()].end = static_cast<uint32_t>(nodes_.size());
    for (size_t i = common; i < bytes.size(); ++i) {
      open.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({.byte = static_cast<uint8_t>(bytes[i]), .end = 0});
    }
    if (nodes_[open.back()].token < 0) nodes_[open.back()].token = id;
    before = bytes;
  }
  for (const uint32_t node : open) nodes_[node].end = static_cast<uint32_t>(nodes_.size());
}

TokenMasks::TokenMasks(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie)
    : grammar_(std::move(grammar)), trie_(std::move(trie)), stacks_(1) {
  find_live_nodes();
  if (live_[grammar_->rule_start(0)]) start_ = intern({push(grammar_->rule_start(0), kEmpty)});
  if (start_ == kDead) raise(invalid_input, "grammar: nothing fits it");
}

bool TokenMasks::is_live(const Grammar::Edge& edge) const {
  return live_[edge.to] && (edge.kind != Grammar::Edge::Kind::call || live_[grammar_->rule_start(edge.rule)]);
}

// Nodes are numbered about in the order of the text, so that few sweeps from the last to the first are enough.
void TokenMasks::find_live_nodes() {
  live_.resize(grammar_->num_nodes());
  for (bool has_changed = true; has_changed;) {
    has_changed = false;
    for (size_t i = live_.size(); i > 0; --i) {
      const auto node = static_cast<Grammar::Node>(i - 1);
      if (live_[node]) continue;
      const auto& edges = grammar_->edges(node);
      if (!grammar_->ends_rule(node) && std::ranges::none_of(edges, [this](const Grammar::Edge& edge) { return is_live(edge); })) continue;
      live_[node] = has_changed = true;
    }
  }
}

TokenMasks::Stack TokenMasks::push(Grammar::Node node, Stack below) {
  const uint64_t key = uint64_t{node} << 32 | below;
  const auto [found, is_new] = stack_ids_.try_emplace(key, static_cast<Stack>(stacks_.size()));
  if (is_new) {
    const uint32_t depth = stacks_[below].depth + 1;
    stacks_.push_back({node, below, depth});
  }
  return found->second;
}

// What can be reached from `stack` without a byte; appends to `pending` what is still to be looked at.
void TokenMasks::close(Stack stack, std::vector<Stack>& reached, std::vector<Stack>& pending) {
  if (stack == kEmpty) {
    reached.push_back(kEmpty);
    return;
  }
  const StackEntry entry = stacks_[stack];
  if (entry.depth > kMaxDepth) return;  // deeper than answers may nest: not followed
  if (grammar_->ends_rule(entry.node)) pending.push_back(entry.below);
  bool reads = false;
  for (const Grammar::Edge& edge : grammar_->edges(entry.node)) {
    if (!is_live(edge)) continue;
    switch (edge.kind) {
      case Grammar::Edge::Kind::bytes: reads = true; break;
      case Grammar::Edge::Kind::free: pending.push_back(push(edge.to, entry.below)); break;
      case Grammar::Edge::Kind::call: {
        // A call in the last place leaves nothing to come back to.
        const bool is_last = grammar_->ends_rule(edge.to) && grammar_->edges(edge.to).empty();
        const Stack below = is_last ? entry.below : push(edge.to, entry.below);
        pending.push_back(push(grammar_->rule_start(edge.rule), below));
        break;
      }
    }
  }
  if (reads) reached.push_back(stack);
}

TokenMasks::State TokenMasks::intern(std::vector<Stack> roots) {
  std::vector<Stack> reached;
  std::unordered_set<Stack> seen;
  while (!roots.empty()) {
    const Stack stack = roots.back();
    roots.pop_back();
    if (!seen.insert(stack).second) continue;
    if (seen.size() > kMaxStacksAtOnce) raise(invalid_input, "grammar: want fewer alternatives side by side than {}", kMaxStacksAtOnce);
    close(stack, reached, roots);
  }
  if (reached.empty()) return kDead;
  std::ranges::sort(reached);
  const auto [found, is_new] = state_ids_.try_emplace(reached, static_cast<State>(states_.size()));
  if (is_new) {
    if (states_.size() >= kMaxStates) raise(invalid_input, "grammar: want fewer states than {}", kMaxStates);
    states_.push_back({.stacks = reached, .may_end = reached.front() == kEmpty, .next = nullptr, .mask = {}});
  }
  return found->second;
}

TokenMasks::State TokenMasks::after(State state, uint8_t byte) {
  if (!states_[state].next) {
    states_[state].next = std::make_unique<std::array<State, 256>>();
    states_[state].next->fill(kUnknown);
  }
  const State known = (*states_[state].next)[byte];
  if (known != kUnknown) return known;
  std::vector<Stack> roots;
  for (const Stack stack : std::vector<Stack>(states_[state].stacks)) {
    if (stack == kEmpty) continue;
    const StackEntry entry = stacks_[stack];
    for (const Grammar::Edge& edge : grammar_->edges(entry.node)) {
      if (edge.kind != Grammar::Edge::Kind::bytes || byte < edge.low || byte > edge.high || !is_live(edge)) continue;
      roots.push_back(push(edge.to, entry.below));
    }
  }
  const State next = intern(std::move(roots));
  (*states_[state].next)[byte] = next;
  return next;
}

TokenMasks::State TokenMasks::after(State state, std::string_view bytes) {
  for (const char byte : bytes) {
    if (state == kDead) break;
    state = after(state, static_cast<uint8_t>(byte));
  }
  return state;
}

std::span<const uint32_t> TokenMasks::mask(State state) {
  if (states_[state].mask.empty()) {
    std::vector<uint32_t> mask((trie_->num_tokens() + 31) / 32);
    const std::vector<TokenTrie::Node>& nodes = trie_->nodes();
    struct Open {
      uint32_t end;
      State state;
    };
    std::vector<Open> path;
    for (uint32_t at = 0; at < nodes.size();) {
      while (!path.empty() && at >= path.back().end) path.pop_back();
      const State next = after(path.empty() ? state : path.back().state, nodes[at].byte);
      if (next == kDead) {
        at = nodes[at].end;
        continue;
      }
      if (nodes[at].token >= 0) mask[static_cast<size_t>(nodes[at].token) / 32] |= 1U << (nodes[at].token % 32);
      path.push_back({nodes[at].end, next});
      ++at;
    }
    states_[state].mask = std::move(mask);
  }
  return states_[state].mask;
}

}  // namespace quern
