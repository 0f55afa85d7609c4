// The tokens of a vocabulary by their bytes, in the order of a depth-first walk. Control tokens are left out. Immutable; any thread.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace quern {

class TokenTrie {
 public:
  explicit TokenTrie(const Tokenizer& tokenizer);  // which outlives it

  struct Node {
    uint8_t byte;
    uint32_t end;        // the walk goes on here when nothing below fits
    int32_t token = -1;  // that ends here; others with the same bytes are left out
  };
  const std::vector<Node>& nodes() const { return nodes_; }
  size_t num_tokens() const { return num_tokens_; }
  std::string_view bytes(TokenId token) const { return tokenizer_->bytes(token); }
  // Longest first: those of more than `num_bytes` bytes stand in front.
  const std::vector<TokenId>& by_length() const { return by_length_; }

 private:
  const Tokenizer* tokenizer_;
  std::vector<Node> nodes_;
  std::vector<TokenId> by_length_;
  size_t num_tokens_;
};

}  // namespace quern
