#include "engine/block_pool.h"

#include <algorithm>

#include "base/error.h"
#include "base/hash.h"

namespace quern {

uint64_t BlockPool::xxh3_prefix_hash(PrefixId parent, std::span<const TokenId> tokens, const PrefixScope& scope) {
  uint64_t seed = parent;
  if (parent == kNoPrefix) {  // a parent's id already stands for its scope
    seed = hash_bytes(scope.salt.data(), scope.salt.size(), static_cast<uint64_t>(scope.rope_variant));
  }
  return hash_bytes(tokens.data(), tokens.size_bytes(), seed);
}

BlockPool::BlockPool(size_t num_blocks, size_t block_tokens, PrefixHash hash)
    : block_tokens_(block_tokens), hash_(hash), blocks_(num_blocks) {
  CHECK(num_blocks < kNone && block_tokens > 0, "{} blocks of {} tokens", num_blocks, block_tokens);
  for (size_t i = num_blocks; i-- > 0;) plain_free_.push_back(static_cast<BlockId>(i));  // 0 is granted first
  num_free_ = num_blocks;
}

void BlockPool::link_newest(BlockId block) {
  blocks_[block].previous = newest_;
  blocks_[block].next = kNone;
  (newest_ == kNone ? oldest_ : blocks_[newest_].next) = block;
  newest_ = block;
}

void BlockPool::unlink(BlockId block) {
  Block& b = blocks_[block];
  (b.previous == kNone ? oldest_ : blocks_[b.previous].next) = b.next;
  (b.next == kNone ? newest_ : blocks_[b.next].previous) = b.previous;
  b.previous = b.next = kNone;
}

std::optional<BlockId> BlockPool::grant() {
  if (num_free_ == 0) return std::nullopt;
  if (plain_free_.empty()) forget(oldest_);
  const BlockId block = plain_free_.back();
  plain_free_.pop_back();
  blocks_[block].holders = 1;
  --num_free_;
  return block;
}

void BlockPool::hold(BlockId block) {
  Block& b = blocks_[block];
  if (b.holders == 0) {
    CHECK(b.prefix != kNoPrefix, "block {} is free and holds nothing", block);
    unlink(block);
    --num_free_;
  }
  ++b.holders;
}

void BlockPool::release(BlockId block) {
  CHECK(block < blocks_.size() && blocks_[block].holders > 0, "block {} of {} is not held", block, blocks_.size());
  if (--blocks_[block].holders > 0) return;
  ++num_free_;
  if (blocks_[block].prefix == kNoPrefix) {
    plain_free_.push_back(block);
  } else {
    link_newest(block);
  }
}

bool BlockPool::matches(const Block& block, PrefixId parent, std::span<const TokenId> tokens, const PrefixScope& scope) const {
  return block.parent == parent && std::ranges::equal(block.tokens, tokens) && block.scope == scope;
}

std::optional<BlockId> BlockPool::find(PrefixId parent, std::span<const TokenId> tokens, const PrefixScope& scope) const {
  CHECK(tokens.size() == block_tokens_, "{} tokens in a block of {}", tokens.size(), block_tokens_);
  const auto at = by_hash_.find(hash_(parent, tokens, scope));
  if (at == by_hash_.end() || !matches(blocks_[at->second], parent, tokens, scope)) return std::nullopt;
  return at->second;
}

BlockId BlockPool::publish(BlockId block, PrefixId parent, std::span<const TokenId> tokens, const PrefixScope& scope) {
  CHECK(tokens.size() == block_tokens_, "{} tokens in a block of {}", tokens.size(), block_tokens_);
  Block& b = blocks_[block];
  CHECK(b.holders > 0 && b.prefix == kNoPrefix, "block {}: {} holders, prefix {}", block, b.holders, b.prefix);
  const uint64_t hash = hash_(parent, tokens, scope);
  if (const auto at = by_hash_.find(hash); at != by_hash_.end()) {
    const BlockId other = at->second;
    if (matches(blocks_[other], parent, tokens, scope)) {
      hold(other);
      release(block);
      return other;
    }
    forget(other);  // another prefix with this hash: the newer one stays
  }
  b.prefix = ++last_prefix_;
  b.parent = parent;
  b.hash = hash;
  b.tokens.assign(tokens.begin(), tokens.end());
  b.scope = scope;
  by_hash_.emplace(hash, block);
  return block;
}

void BlockPool::forget(BlockId block) {
  Block& b = blocks_[block];
  if (b.prefix == kNoPrefix) return;
  by_hash_.erase(b.hash);
  b.prefix = b.parent = kNoPrefix;
  b.tokens.clear();
  b.scope = {};
  if (b.holders == 0) {
    unlink(block);
    plain_free_.push_back(block);
  }
}

void BlockPool::forget_all() {
  for (size_t i = 0; i < blocks_.size(); ++i) forget(static_cast<BlockId>(i));
}

}  // namespace quern
