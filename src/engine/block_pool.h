// Who holds which KV block: by count and by prefix.
// Owned by Engine, used on the engine thread only. Never touches device memory; KvCache does.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/tokenizer.h"

namespace quern {

using BlockId = uint32_t;
// A published prefix: the tokens of one block behind those of its parent. Never used again, so that it names the whole chain exactly.
using PrefixId = uint64_t;
inline constexpr PrefixId kNoPrefix = 0;

// What makes two prompts' first blocks different besides their tokens.
struct PrefixScope {
  int32_t rope_variant = 0;  // keys are rotated by it
  std::string salt = {};     // requests with different salts share nothing
  bool operator==(const PrefixScope&) const = default;
};

class BlockPool {
 public:
  using PrefixHash = uint64_t (*)(PrefixId parent, std::span<const TokenId> tokens, const PrefixScope& scope);
  static uint64_t xxh3_prefix_hash(PrefixId parent, std::span<const TokenId> tokens, const PrefixScope& scope);

  // `num_blocks` blocks of `block_tokens` tokens each. All free at first.
  BlockPool(size_t num_blocks, size_t block_tokens, PrefixHash hash = &xxh3_prefix_hash);

  size_t num_blocks() const { return blocks_.size(); }
  size_t block_tokens() const { return block_tokens_; }
  size_t blocks_for(size_t tokens) const { return (tokens + block_tokens_ - 1) / block_tokens_; }
  size_t num_free() const { return num_free_; }  // blocks without a holder, those that keep a prefix included
  size_t num_cached() const { return by_hash_.size(); }
  uint32_t holders(BlockId block) const { return blocks_[block].holders; }

  // A block for one writer, or nothing when all are held. Takes the longest unused prefix only when no block without one is free. O(1).
  std::optional<BlockId> grant();
  // One more holder of a block that is held or keeps a prefix. O(1).
  void hold(BlockId block);
  // Gives back one hold. The last one frees the block; its prefix stays findable until the block is granted again. O(1).
  void release(BlockId block);

  // The block that holds `tokens` (block_tokens of them) behind `parent`; tokens are compared, not only hashes. Takes no hold.
  std::optional<BlockId> find(PrefixId parent, std::span<const TokenId> tokens, const PrefixScope& scope) const;
  // The id of a block's prefix, kNoPrefix while it has none.
  PrefixId prefix(BlockId block) const { return blocks_[block].prefix; }
  // Makes the held, full block findable behind `parent` and returns it; when another block already holds the same prefix, the caller's
  // hold moves to that one, which is returned.
  BlockId publish(BlockId block, PrefixId parent, std::span<const TokenId> tokens, const PrefixScope& scope);
  // The block's contents are not to be found again.
  void forget(BlockId block);
  void forget_all();

 private:
  static constexpr BlockId kNone = static_cast<BlockId>(-1);
  struct Block {
    uint32_t holders = 0;
    BlockId previous = kNone, next = kNone;  // in the list of free blocks that keep a prefix, oldest first
    PrefixId prefix = kNoPrefix, parent = kNoPrefix;
    uint64_t hash = 0;
    std::vector<TokenId> tokens;
    PrefixScope scope;
  };
  bool matches(const Block& block, PrefixId parent, std::span<const TokenId> tokens, const PrefixScope& scope) const;
  void link_newest(BlockId block);
  void unlink(BlockId block);

  size_t block_tokens_;
  PrefixHash hash_;
  std::vector<Block> blocks_;
  std::vector<BlockId> plain_free_;  // free, no prefix; the last one is granted first
  BlockId oldest_ = kNone, newest_ = kNone;
  size_t num_free_ = 0;
  PrefixId last_prefix_ = kNoPrefix;
  std::unordered_map<uint64_t, BlockId> by_hash_;
};

}  // namespace quern
