// Which tokens may follow inside a Grammar: states of the pushdown automaton, made as they are met. A token either stays within the rule
// that is being read or leaves it; for each place in a rule the former are known once and for all, and the endings of the latter are few,
// so that a mask is put together from a handful of pieces. One per grammar and vocabulary; used on one thread at a time.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "text/grammar.h"
#include "text/token_trie.h"

namespace quern {

class TokenMasks {
 public:
  using State = uint32_t;
  static constexpr State kDead = static_cast<State>(-1);

  // Throws invalid_input for a grammar that nothing fits. Prepares places in rules for at most `prepare_seconds`; others when they are met.
  TokenMasks(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie, double prepare_seconds = 1);

  State start() const { return start_; }
  // Behind the byte, or behind a token's bytes; kDead when they do not fit, or lead where too much would have to be followed at once.
  State after(State state, uint8_t byte);
  State after(State state, std::string_view bytes);
  // The answer may end here.
  bool may_end(State state) const { return states_[state].may_end; }
  // Something may follow.
  bool may_go_on(State state) const { return states_[state].stacks.size() > (states_[state].may_end ? 1 : 0); }
  // A bit a token: whether it fits. [ceil(num_tokens / 32)] Until the next call.
  std::span<const uint32_t> mask(State state);
  // How much was met so far; any thread.
  size_t num_states() const { return num_states_; }

 private:
  using Stack = uint32_t;  // of nodes to go on with, interned
  struct StackEntry {
    Grammar::Node node;
    Stack below;
    uint32_t depth;
  };
  struct StateEntry {
    std::vector<Stack> stacks;  // sorted; each with a node that reads bytes, or kEmpty or kOutside
    bool may_end = false;
    uint32_t next = 0;  // where its row in next_ begins, 0 before it is asked for
  };
  // Ends of tokens that leave the rule: what comes behind it, as a trie.
  struct Ending {
    uint8_t byte;
    uint32_t end;                      // as TokenTrie's
    uint32_t first_token, last_token;  // in Place::ending_tokens
  };
  struct EndingToken {
    TokenId id;
    uint32_t num_bytes;  // of the whole token
  };
  // What tokens do from a node on that reads bytes, whatever is below it.
  struct Place {
    std::vector<uint32_t> mask;   // of tokens that fit within the rule, when they are many
    std::vector<TokenId> tokens;  // else one by one
    std::vector<Ending> endings;
    std::vector<EndingToken> ending_tokens;
    std::vector<uint32_t> exits;  // nodes of the vocabulary that much stands below, all of which are further endings
  };
  static constexpr State kUnknown = static_cast<State>(-2);
  static constexpr Stack kEmpty = 0, kOutside = 1;  // the end of the answer; the unknown below a rule

  void find_classes();
  void find_live_nodes();
  bool is_live(const Grammar::Edge& edge) const;
  void prepare(double seconds);
  Stack push(Grammar::Node node, Stack below);
  void close(Stack stack, std::vector<Stack>& reached, std::vector<Stack>& pending);
  State intern(std::vector<Stack> roots);
  State state_of(Stack stack);
  const Place& place(Grammar::Node node);
  Place make_place(Grammar::Node node);
  void add_stack(Stack stack, std::vector<uint32_t>& mask);
  void add_endings(const Place& place, State state, size_t most_bytes, std::vector<uint32_t>& mask);
  void add_below(uint32_t first, uint32_t end, State state, size_t most_bytes, std::vector<uint32_t>& mask);

  std::shared_ptr<const Grammar> grammar_;
  std::shared_ptr<const TokenTrie> trie_;
  std::array<uint8_t, 256> class_of_;  // of bytes that no edge tells apart
  size_t num_classes_ = 0;
  std::vector<bool> live_;  // by node: the end of its rule can be reached
  std::vector<StackEntry> stacks_;
  std::unordered_map<uint64_t, Stack> stack_ids_;
  std::vector<StateEntry> states_;
  std::map<std::vector<Stack>, State> state_ids_;
  std::vector<State> next_;  // rows of num_classes_
  std::unordered_map<Stack, State> state_of_stack_;
  std::unordered_map<Grammar::Node, Place> places_;
  std::unordered_map<State, std::vector<uint32_t>> masks_;  // the last ones
  std::atomic<size_t> num_states_ = 0;
  State start_ = kDead;
};

}  // namespace quern
