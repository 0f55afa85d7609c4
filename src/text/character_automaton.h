// A finite automaton over characters, built from a regular expression and the like, and written into a Grammar as bytes. Plain data.
#pragma once
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "text/character_set.h"

namespace quern {

class CharacterAutomaton {
 public:
  using State = uint32_t;
  static constexpr size_t kMaxStates = 50'000;

  State start = 0, end = 0;

  // Throws invalid_input beyond kMaxStates.
  State add_state();
  void add_edge(State from, CharacterSet set, State to);
  void add_free(State from, State to) { free_[from].push_back(to); }
  size_t num_states() const { return edges_.size(); }

  // What this accepts, of `least` to `most` characters.
  CharacterAutomaton of_lengths(size_t least, std::optional<size_t> most) const;

  enum class Form { plain, json_string };
  // From `from` to the node that is returned.
  Grammar::Node write(Grammar& grammar, Grammar::Node from, Form form) const;

 private:
  struct Edge {
    CharacterSet set;
    State to;
  };
  std::vector<std::vector<Edge>> edges_;
  std::vector<std::vector<State>> free_;
};

}  // namespace quern
