// Which tokens may follow inside a Grammar: states of the pushdown automaton, made as they are met, each with its mask once asked for.
// One per grammar and vocabulary; used on one thread at a time. The vocabulary's trie is shared.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "text/grammar.h"
#include "text/tokenizer.h"

namespace quern {

// The tokens of a vocabulary by their bytes, in the order of a depth-first walk. Control tokens are left out. Immutable; any thread.
class TokenTrie {
 public:
  explicit TokenTrie(const Tokenizer& tokenizer);

  struct Node {
    uint8_t byte;
    uint32_t end;        // the walk goes on here when nothing below fits
    int32_t token = -1;  // that ends here; others with the same bytes are left out
  };
  const std::vector<Node>& nodes() const { return nodes_; }
  size_t num_tokens() const { return num_tokens_; }

 private:
  std::vector<Node> nodes_;
  size_t num_tokens_;
};

class TokenMasks {
 public:
  using State = uint32_t;
  static constexpr State kDead = static_cast<State>(-1);

  // Throws invalid_input for a grammar that nothing fits.
  TokenMasks(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie);

  State start() const { return start_; }
  // Behind the byte, or behind a token's bytes; kDead when they do not fit.
  State after(State state, uint8_t byte);
  State after(State state, std::string_view bytes);
  // The answer may end here.
  bool may_end(State state) const { return states_[state].may_end; }
  // A bit a token: whether it fits. [ceil(num_tokens / 32)]
  std::span<const uint32_t> mask(State state);

 private:
  using Stack = uint32_t;  // of nodes to go on with, interned
  struct StackEntry {
    Grammar::Node node;
    Stack below;
    uint32_t depth;
  };
  struct StateEntry {
    std::vector<Stack> stacks;  // sorted; each with a node that reads bytes, or empty
    bool may_end = false;
    std::unique_ptr<std::array<State, 256>> next;  // kUnknown where not asked for
    std::vector<uint32_t> mask;
  };
  static constexpr State kUnknown = static_cast<State>(-2);
  static constexpr Stack kEmpty = 0;

  void find_live_nodes();
  bool is_live(const Grammar::Edge& edge) const;
  Stack push(Grammar::Node node, Stack below);
  void close(Stack stack, std::vector<Stack>& reached, std::vector<Stack>& pending);
  State intern(std::vector<Stack> roots);

  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<const TokenTrie> trie_;
  std::vector<bool> live_;  // by node: the end of its rule can be reached
  std::vector<StackEntry> stacks_;
  std::unordered_map<uint64_t, Stack> stack_ids_;
  std::vector<StateEntry> states_;
  std::map<std::vector<Stack>, State> state_ids_;
  State start_ = kDead;
};

}  // namespace quern
