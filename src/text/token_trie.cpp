#include "text/token_trie.h"

#include <algorithm>
#include <functional>

namespace quern {

TokenTrie::TokenTrie(const Tokenizer& tokenizer) : tokenizer_(&tokenizer), num_tokens_(tokenizer.num_tokens()) {
  std::vector<TokenId> ids;
  for (size_t id = 0; id < num_tokens_; ++id) {
    const auto token = static_cast<TokenId>(id);
    if (!tokenizer.is_control(token) && !tokenizer.bytes(token).empty()) ids.push_back(token);
  }
  std::ranges::sort(ids, [&](TokenId a, TokenId b) { return tokenizer.bytes(a) < tokenizer.bytes(b); });
  const auto common_bytes = [](std::string_view a, std::string_view b) {
    return static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
  };
  size_t num_nodes = 0;
  std::string_view before;
  for (const TokenId id : ids) {
    const std::string_view bytes = tokenizer.bytes(id);
    num_nodes += bytes.size() - common_bytes(before, bytes);
    before = bytes;
  }
  nodes_.reserve(num_nodes);
  std::vector<uint32_t> open;  // nodes of the path to the token before
  before = {};
  for (const TokenId id : ids) {
    const std::string_view bytes = tokenizer.bytes(id);
    const size_t common = common_bytes(before, bytes);
    for (; open.size() > common; open.pop_back()) nodes_[open.back()].end = static_cast<uint32_t>(nodes_.size());
    for (size_t i = common; i < bytes.size(); ++i) {
      open.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({.byte = static_cast<uint8_t>(bytes[i]), .end = 0});
    }
    if (nodes_[open.back()].token < 0) nodes_[open.back()].token = id;
    before = bytes;
  }
  for (const uint32_t node : open) nodes_[node].end = static_cast<uint32_t>(nodes_.size());
  by_length_.reserve(ids.size());
  for (const Node& node : nodes_) {
    if (node.token >= 0) by_length_.push_back(node.token);
  }
  std::ranges::stable_sort(by_length_, std::greater<>(), [&](TokenId id) { return tokenizer.bytes(id).size(); });
}

}  // namespace quern
