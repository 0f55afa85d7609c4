// The pool counts holders rightly, finds exactly what was published, and takes back the longest unused prefix first.
#include "engine/block_pool.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"

namespace quern {
namespace {

std::vector<TokenId> tokens_from(TokenId first, size_t count) {
  std::vector<TokenId> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

uint64_t same_hash(PrefixId, std::span<const TokenId>, const PrefixScope&) { return 7; }

// Publishes `count` blocks that continue each other, tokens from `first` on; all are held afterwards.
std::vector<BlockId> publish_chain(BlockPool& pool, TokenId first, size_t count, const PrefixScope& scope = {}) {
  std::vector<BlockId> chain;
  for (size_t i = 0; i < count; ++i) {
    const auto tokens = tokens_from(first + static_cast<TokenId>(i * pool.block_tokens()), pool.block_tokens());
    chain.push_back(pool.publish(pool.grant().value(), i == 0 ? kNoPrefix : pool.prefix(chain[i - 1]), tokens, scope));
  }
  return chain;
}

void release_all(BlockPool& pool, const std::vector<BlockId>& chain) {
  for (size_t i = chain.size(); i-- > 0;) pool.release(chain[i]);
}

TEST(BlockPool, GrantsEachBlockOnceAndNothingWhenAllAreHeld) {
  BlockPool pool(3, 4);
  std::vector<BlockId> granted;
  while (const auto block = pool.grant()) granted.push_back(*block);
  EXPECT_EQ(granted, (std::vector<BlockId>{0, 1, 2}));
  pool.release(1);
  EXPECT_EQ(pool.grant(), std::optional<BlockId>(1));
}

TEST(BlockPool, ReleaseOfLastHoldFreesAndKeepsThePrefix) {
  BlockPool pool(4, 2);
  const BlockId block = publish_chain(pool, 10, 1)[0];
  pool.hold(block);
  pool.release(block);
  EXPECT_EQ(pool.num_free(), 3U);
  pool.release(block);
  EXPECT_EQ(pool.num_free(), 4U);
  EXPECT_EQ(pool.find(kNoPrefix, tokens_from(10, 2), {}), std::optional<BlockId>(block));
  pool.hold(block);
  EXPECT_EQ(pool.num_free(), 3U);
  EXPECT_THROW(pool.release(block == 0 ? 1 : 0), Error) << "a block without a holder";
}

TEST(BlockPool, FindsOnlyTheSameTokensBehindTheSameParentInTheSameScope) {
  BlockPool pool(8, 2);
  const std::vector<BlockId> chain = publish_chain(pool, 10, 2);
  const PrefixId parent = pool.prefix(chain[0]);
  EXPECT_EQ(pool.find(parent, tokens_from(12, 2), {}), std::optional<BlockId>(chain[1]));
  EXPECT_EQ(pool.find(kNoPrefix, tokens_from(12, 2), {}), std::nullopt) << "the second block is no first block";
  EXPECT_EQ(pool.find(parent + 1, tokens_from(12, 2), {}), std::nullopt);
  EXPECT_EQ(pool.find(parent, tokens_from(13, 2), {}), std::nullopt);
  EXPECT_EQ(pool.find(kNoPrefix, tokens_from(10, 2), {.rope_variant = 1}), std::nullopt);
  EXPECT_EQ(pool.find(kNoPrefix, tokens_from(10, 2), {.rope_variant = 0, .salt = "a"}), std::nullopt);
}

TEST(BlockPool, EqualHashesAreToldApartByTokens) {
  BlockPool pool(8, 2, &same_hash);
  const BlockId first = publish_chain(pool, 10, 1)[0];
  EXPECT_EQ(pool.find(kNoPrefix, tokens_from(20, 2), {}), std::nullopt);
  EXPECT_EQ(pool.find(kNoPrefix, tokens_from(10, 2), {.rope_variant = 1}), std::nullopt);
  const BlockId second = publish_chain(pool, 20, 1)[0];
  EXPECT_EQ(pool.find(kNoPrefix, tokens_from(20, 2), {}), std::optional<BlockId>(second)) << "the newer one is kept";
  EXPECT_EQ(pool.find(kNoPrefix, tokens_from(10, 2), {}), std::nullopt);
  EXPECT_EQ(pool.prefix(first), kNoPrefix);
  pool.release(first), pool.release(second);
  EXPECT_EQ(pool.num_free(), 8U);
}

TEST(BlockPool, PublishingTwiceMovesTheHoldToTheFirst) {
  BlockPool pool(4, 2);
  const BlockId first = publish_chain(pool, 10, 1)[0], own = pool.grant().value();
  EXPECT_EQ(pool.publish(own, kNoPrefix, tokens_from(10, 2), {}), first);
  EXPECT_EQ(pool.holders(first), 2U);
  EXPECT_EQ(pool.holders(own), 0U);
  EXPECT_EQ(pool.num_free(), 3U);
}

TEST(BlockPool, TakesTheLongestUnusedPrefixAndItsTailFirst) {
  BlockPool pool(4, 2);
  const std::vector<BlockId> old_chain = publish_chain(pool, 10, 2), new_chain = publish_chain(pool, 50, 2);
  release_all(pool, old_chain), release_all(pool, new_chain);
  EXPECT_EQ(pool.grant(), std::optional<BlockId>(old_chain[1]));
  EXPECT_TRUE(pool.find(kNoPrefix, tokens_from(10, 2), {})) << "the head of the old prefix is still there";
  pool.hold(old_chain[0]);  // used again: now the newest once released
  pool.release(old_chain[0]);
  EXPECT_EQ(pool.grant(), std::optional<BlockId>(new_chain[1]));
  EXPECT_EQ(pool.grant(), std::optional<BlockId>(new_chain[0]));
  EXPECT_EQ(pool.grant(), std::optional<BlockId>(old_chain[0]));
  EXPECT_EQ(pool.num_cached(), 0U);
}

TEST(BlockPool, ForgottenPrefixesAreNotFoundHeldOrNot) {
  BlockPool pool(4, 2);
  const std::vector<BlockId> chain = publish_chain(pool, 10, 2);
  pool.release(chain[1]);
  pool.forget(chain[1]);
  pool.forget(chain[0]);
  pool.forget(chain[0]);
  EXPECT_EQ(pool.num_cached(), 0U);
  EXPECT_EQ(pool.num_free(), 3U);
  pool.release(chain[0]);
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(pool.grant());
  EXPECT_FALSE(pool.grant());
}

TEST(BlockPool, HashDependsOnEveryPartOfTheKey) {
  const auto hash = &BlockPool::xxh3_prefix_hash;
  const auto tokens = tokens_from(10, 16);
  const uint64_t base = hash(kNoPrefix, tokens, {});
  EXPECT_NE(base, hash(3, tokens, {}));
  EXPECT_NE(base, hash(kNoPrefix, tokens_from(11, 16), {}));
  EXPECT_NE(base, hash(kNoPrefix, tokens, {.rope_variant = 1}));
  EXPECT_NE(base, hash(kNoPrefix, tokens, {.rope_variant = 0, .salt = "a"}));
}

}  // namespace
}  // namespace quern
