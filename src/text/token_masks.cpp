#include "text/token_masks.h"

#include <algorithm>
#include <array>
#include <unordered_set>

#include "base/clock.h"
#include "base/error.h"

namespace quern {
namespace {

constexpr uint32_t kMaxDepth = 400;  // of calls: 64 levels of JSON take a few each
constexpr uint32_t kDeep = 250;
constexpr size_t kMaxStacksAtOnce = 4096;  // alternatives that are followed side by side
constexpr size_t kMaxStates = 1'000'000;
constexpr size_t kMaxMasks = 256;      // that are kept, 19 KB each of Qwen's vocabulary
constexpr size_t kFewTokens = 512;     // of a place are kept one by one
constexpr size_t kManyEndings = 1024;  // below a node of the vocabulary are walked where they stand, not copied
constexpr size_t kMaxDenseShare = 64;  // places with masks of their own are prepared up to this many MiB

constexpr auto kAnyLength = static_cast<size_t>(-1);

void set_bit(std::vector<uint32_t>& mask, TokenId id) { mask[static_cast<size_t>(id) / 32] |= 1U << (id % 32); }

}  // namespace

TokenMasks::TokenMasks(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie, double prepare_seconds)
    : grammar_(std::move(grammar)), trie_(std::move(trie)), stacks_(2) {
  find_classes();
  next_.resize(num_classes_, kUnknown);  // row 0 is nobody's
  find_live_nodes();
  if (live_[grammar_->rule_start(0)]) start_ = intern({push(grammar_->rule_start(0), kEmpty)});
  if (start_ == kDead) raise(invalid_input, "grammar: nothing fits it, or more than {} alternatives begin side by side", kMaxStacksAtOnce);
  prepare(prepare_seconds);
}

void TokenMasks::find_classes() {
  std::array<bool, 257> begins = {};  // a class
  begins[0] = true;
  for (Grammar::Node node = 0; node < grammar_->num_nodes(); ++node) {
    for (const Grammar::Edge& edge : grammar_->edges(node)) {
      if (edge.kind == Grammar::Edge::Kind::bytes) begins[edge.low] = begins[edge.high + 1] = true;
    }
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    num_classes_ += begins[byte] ? 1 : 0;
    class_of_[byte] = static_cast<uint8_t>(num_classes_ - 1);
  }
}

bool TokenMasks::is_live(const Grammar::Edge& edge) const {
  return live_[edge.to] && (edge.kind != Grammar::Edge::Kind::call || live_[grammar_->rule_start(edge.rule)]);
}

// From the ends of the rules back.
void TokenMasks::find_live_nodes() {
  using Edge = Grammar::Edge;
  live_.resize(grammar_->num_nodes());
  std::vector<std::vector<std::pair<Grammar::Node, Edge>>> leading(grammar_->num_nodes());  // to a node, or into the rule that it starts
  std::vector<Grammar::Node> pending;
  for (Grammar::Node node = 0; node < live_.size(); ++node) {
    for (const Edge& edge : grammar_->edges(node)) {
      leading[edge.to].emplace_back(node, edge);
      if (edge.kind == Edge::Kind::call) leading[grammar_->rule_start(edge.rule)].emplace_back(node, edge);
    }
    if (!grammar_->ends_rule(node)) continue;
    live_[node] = true;
    pending.push_back(node);
  }
  while (!pending.empty()) {
    const Grammar::Node node = pending.back();
    pending.pop_back();
    for (const auto& [from, edge] : leading[node]) {
      if (live_[from] || !is_live(edge)) continue;
      live_[from] = true;
      pending.push_back(from);
    }
  }
}

// Places in the order of the grammar; those that most tokens fit take a millisecond or two each.
void TokenMasks::prepare(double seconds) {
  const double end = monotonic_seconds() + seconds;
  size_t dense_bytes = 0;
  for (Grammar::Node node = 0; node < grammar_->num_nodes(); ++node) {
    const bool reads = std::ranges::any_of(
        grammar_->edges(node), [this](const Grammar::Edge& edge) { return edge.kind == Grammar::Edge::Kind::bytes && is_live(edge); });
    if (!reads || !live_[node]) continue;
    if (monotonic_seconds() > end || dense_bytes > kMaxDenseShare << 20) return;
    if (!grammar_->likeness(node)) dense_bytes += place(node).mask.size() * sizeof(uint32_t);
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
  if (stack == kEmpty || stack == kOutside) {
    reached.push_back(stack);
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
    if (seen.size() > kMaxStacksAtOnce) return kDead;
    close(stack, reached, roots);
  }
  if (reached.empty()) return kDead;
  if (states_.size() >= kMaxStates) return kDead;
  std::ranges::sort(reached);
  const auto [found, is_new] = state_ids_.try_emplace(reached, static_cast<State>(states_.size()));
  if (is_new) {
    states_.push_back({.stacks = reached, .may_end = reached.front() == kEmpty});
    num_states_ = states_.size();
  }
  return found->second;
}

TokenMasks::State TokenMasks::after(State state, uint8_t byte) {
  if (states_[state].next == 0) {
    states_[state].next = static_cast<uint32_t>(next_.size());
    next_.resize(next_.size() + num_classes_, kUnknown);
  }
  const size_t place = states_[state].next + class_of_[byte];
  if (next_[place] != kUnknown) return next_[place];
  std::vector<Stack> roots;
  for (const Stack stack : std::vector<Stack>(states_[state].stacks)) {
    if (stack == kEmpty || stack == kOutside) continue;
    const StackEntry entry = stacks_[stack];
    for (const Grammar::Edge& edge : grammar_->edges(entry.node)) {
      if (edge.kind != Grammar::Edge::Kind::bytes || byte < edge.low || byte > edge.high || !is_live(edge)) continue;
      roots.push_back(push(edge.to, entry.below));
    }
  }
  const State next = roots.empty() ? kDead : intern(std::move(roots));
  next_[place] = next;
  return next;
}

TokenMasks::State TokenMasks::after(State state, std::string_view bytes) {
  for (const char byte : bytes) {
    if (state == kDead) break;
    state = after(state, static_cast<uint8_t>(byte));
  }
  return state;
}

TokenMasks::State TokenMasks::state_of(Stack stack) {
  const auto known = state_of_stack_.find(stack);
  if (known != state_of_stack_.end()) return known->second;
  const State state = intern({stack});
  state_of_stack_.emplace(stack, state);
  return state;
}

const TokenMasks::Place& TokenMasks::place(Grammar::Node node) {
  const auto known = places_.find(node);
  if (known != places_.end()) return known->second;
  return places_.emplace(node, make_place(node)).first->second;
}

namespace {

// Texts with tokens, as they are met; then as a flat trie.
struct EndingNode {
  std::map<uint8_t, uint32_t> children;
  std::vector<TokenId> tokens;
};

}  // namespace

// A walk over the vocabulary from the node on, with the unknown below it.
TokenMasks::Place TokenMasks::make_place(Grammar::Node node) {
  const std::vector<TokenTrie::Node>& nodes = trie_->nodes();
  Place made;
  std::vector<EndingNode> endings(1);
  std::vector<TokenId> fits;
  struct Path {
    uint32_t end;
    State state;                    // kDead: the rule has ended, only what comes behind it goes on
    std::vector<uint32_t> endings;  // where this path stands in the endings, for ends at different places
  };
  const auto child = [&](uint32_t at, uint8_t byte) {
    const auto found = endings[at].children.find(byte);
    if (found != endings[at].children.end()) return found->second;
    endings[at].children.emplace(byte, static_cast<uint32_t>(endings.size()));
    endings.emplace_back();
    return static_cast<uint32_t>(endings.size() - 1);
  };
  std::vector<Path> path;
  const State start = state_of(push(node, kOutside));
  for (uint32_t at = 0; at < nodes.size();) {
    while (!path.empty() && at >= path.back().end) path.pop_back();
    const State before = path.empty() ? start : path.back().state;
    const State next = before == kDead ? kDead : after(before, nodes[at].byte);
    Path here{nodes[at].end, next, {}};
    if (!path.empty()) {
      for (const uint32_t ending : path.back().endings) here.endings.push_back(child(ending, nodes[at].byte));
    }
    if (next == kDead && here.endings.empty()) {
      at = nodes[at].end;
      continue;
    }
    if (nodes[at].token >= 0) {
      if (next != kDead) fits.push_back(nodes[at].token);
      for (const uint32_t ending : here.endings) endings[ending].tokens.push_back(nodes[at].token);
    }
    if (next != kDead && states_[next].stacks.front() == kOutside) {  // sorted, and none is kEmpty here
      if (nodes[at].end - at > kManyEndings) {
        made.exits.push_back(at);
      } else if (nodes[at].end > at + 1) {
        here.endings.push_back(0);
      }
      if (states_[next].stacks.size() == 1) here.state = kDead;
    }
    path.push_back(std::move(here));
    ++at;
  }

  if (fits.size() > kFewTokens) {
    made.mask.resize((trie_->num_tokens() + 31) / 32);
    for (const TokenId id : fits) set_bit(made.mask, id);
  } else {
    made.tokens = std::move(fits);
  }
  struct Step {
    uint32_t node;
    std::map<uint8_t, uint32_t>::const_iterator next;
    uint32_t flat;
  };
  std::vector<Step> steps = {{0, endings[0].children.begin(), 0}};
  while (!steps.empty()) {
    Step& step = steps.back();
    if (step.next == endings[step.node].children.end()) {
      if (steps.size() > 1) made.endings[step.flat].end = static_cast<uint32_t>(made.endings.size());
      steps.pop_back();
      continue;
    }
    const auto [byte, below] = *step.next++;
    const auto first = static_cast<uint32_t>(made.ending_tokens.size());
    for (const TokenId id : endings[below].tokens) made.ending_tokens.push_back({id, static_cast<uint32_t>(trie_->bytes(id).size())});
    made.endings.push_back({.byte = byte, .end = 0, .first_token = first, .last_token = static_cast<uint32_t>(made.ending_tokens.size())});
    steps.push_back({below, endings[below].children.begin(), static_cast<uint32_t>(made.endings.size() - 1)});
  }
  return made;
}

// Tokens of at most `most_bytes` bytes whose ends fit from `state` on.
void TokenMasks::add_endings(const Place& place, State state, size_t most_bytes, std::vector<uint32_t>& mask) {
  struct Open {
    uint32_t end;
    State state;
  };
  std::vector<Open> path;
  for (uint32_t at = 0; at < place.endings.size();) {
    while (!path.empty() && at >= path.back().end) path.pop_back();
    const Ending& ending = place.endings[at];
    const State next = after(path.empty() ? state : path.back().state, ending.byte);
    if (next == kDead) {
      at = ending.end;
      continue;
    }
    for (uint32_t i = ending.first_token; i < ending.last_token; ++i) {
      if (place.ending_tokens[i].num_bytes <= most_bytes) set_bit(mask, place.ending_tokens[i].id);
    }
    path.push_back({ending.end, next});
    ++at;
  }
  for (const uint32_t exit : place.exits) add_below(exit + 1, trie_->nodes()[exit].end, state, most_bytes, mask);
}

void TokenMasks::add_stack(Stack stack, std::vector<uint32_t>& mask) {
  const StackEntry entry = stacks_[stack];
  const auto likeness = grammar_->likeness(entry.node);
  const bool is_like = likeness && likeness->num_bytes > 0;
  const Place& found = place(is_like ? likeness->node : entry.node);
  const size_t most_bytes = is_like ? likeness->num_bytes : kAnyLength;
  const auto& longest = trie_->by_length();
  const bool has_longer = is_like && !longest.empty() && trie_->bytes(longest.front()).size() > most_bytes;
  if (!has_longer) {
    for (size_t word = 0; word < found.mask.size(); ++word) mask[word] |= found.mask[word];
    for (const TokenId id : found.tokens) set_bit(mask, id);
  } else {
    std::vector<uint32_t> own = found.mask.empty() ? std::vector<uint32_t>(mask.size()) : found.mask;
    for (const TokenId id : found.tokens) set_bit(own, id);
    const State state = state_of(stack);
    for (const TokenId id : longest) {  // whose limit may be nearer than their end
      const std::string_view bytes = trie_->bytes(id);
      if (bytes.size() <= most_bytes) break;
      own[static_cast<size_t>(id) / 32] &= ~(1U << (id % 32));
      if (after(state, bytes) != kDead) set_bit(own, id);
    }
    for (size_t word = 0; word < own.size(); ++word) mask[word] |= own[word];
  }
  if (entry.below == kEmpty || (found.endings.empty() && found.exits.empty())) return;
  if (const State below = state_of(entry.below); below != kDead) add_endings(found, below, most_bytes, mask);
}

// Tokens that end at nodes from `first` on, one by one.
void TokenMasks::add_below(uint32_t first, uint32_t end, State state, size_t most_bytes, std::vector<uint32_t>& mask) {
  struct Open {
    uint32_t end;
    State state;
  };
  const std::vector<TokenTrie::Node>& nodes = trie_->nodes();
  std::vector<Open> path;
  for (uint32_t at = first; at < end;) {
    while (!path.empty() && at >= path.back().end) path.pop_back();
    const State next = after(path.empty() ? state : path.back().state, nodes[at].byte);
    if (next == kDead) {
      at = nodes[at].end;
      continue;
    }
    const TokenId token = nodes[at].token;
    if (token >= 0 && (most_bytes == kAnyLength || trie_->bytes(token).size() <= most_bytes)) set_bit(mask, token);
    path.push_back({nodes[at].end, next});
    ++at;
  }
}

std::span<const uint32_t> TokenMasks::mask(State state) {
  const auto known = masks_.find(state);
  if (known != masks_.end()) return known->second;
  if (masks_.size() >= kMaxMasks) masks_.clear();
  std::vector<uint32_t> mask((trie_->num_tokens() + 31) / 32);
  const std::vector<Stack> stacks = states_[state].stacks;
  const bool is_deep = std::ranges::any_of(stacks, [this](Stack stack) { return stacks_[stack].depth > kDeep; });
  if (is_deep) {
    // Places do not know the bound on the depth, which is near.
    add_below(0, static_cast<uint32_t>(trie_->nodes().size()), state, kAnyLength, mask);
  } else {
    for (const Stack stack : stacks) {
      if (stack != kEmpty) add_stack(stack, mask);
    }
  }
  return masks_.emplace(state, std::move(mask)).first->second;
}

}  // namespace quern
