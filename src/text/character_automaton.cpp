#include "text/character_automaton.h"

#include <algorithm>
#include <map>

#include "base/error.h"

namespace quern {

CharacterAutomaton::State CharacterAutomaton::add_state() {
  if (edges_.size() >= kMaxStates) raise(invalid_input, "want an expression of at most {} states", kMaxStates);
  edges_.emplace_back();
  free_.emplace_back();
  return static_cast<State>(edges_.size() - 1);
}

void CharacterAutomaton::add_edge(State from, CharacterSet set, State to) {
  if (!set.is_empty()) edges_[from].push_back({std::move(set), to});
}

// States of the result are pairs of a state and the characters so far, counted to the last number that matters.
CharacterAutomaton CharacterAutomaton::of_lengths(size_t least, std::optional<size_t> most) const {
  CharacterAutomaton product;
  std::map<std::pair<State, size_t>, State> ids;
  std::vector<std::pair<State, size_t>> pending;
  const auto state_of = [&](State state, size_t count) {
    const auto [found, is_new] = ids.try_emplace({state, count}, 0);
    if (is_new) {
      found->second = product.add_state();
      pending.emplace_back(state, count);
    }
    return found->second;
  };
  product.start = state_of(start, 0);
  product.end = product.add_state();
  while (!pending.empty()) {
    const auto [state, count] = pending.back();
    pending.pop_back();
    const State from = state_of(state, count);
    if (state == end && count >= least) product.add_free(from, product.end);
    for (const State to : free_[state]) product.add_free(from, state_of(to, count));
    if (most && count == *most) continue;
    const size_t next = most ? count + 1 : std::min(count + 1, least);
    for (const Edge& edge : edges_[state]) product.add_edge(from, edge.set, state_of(edge.to, next));
  }
  return product;
}

Grammar::Node CharacterAutomaton::write(Grammar& grammar, Grammar::Node from, Form form) const {
  std::vector<Grammar::Node> nodes;
  for (State state = 0; state < num_states(); ++state) nodes.push_back(grammar.add_node());
  for (State state = 0; state < num_states(); ++state) {
    for (const State to : free_[state]) grammar.add_free(nodes[state], nodes[to]);
    for (const Edge& edge : edges_[state]) {
      if (form == Form::plain) {
        add_characters(grammar, nodes[state], edge.set, nodes[edge.to]);
      } else {
        add_json_characters(grammar, nodes[state], edge.set, nodes[edge.to]);
      }
    }
  }
  grammar.add_free(from, nodes[start]);
  return nodes[end];
}

}  // namespace quern
