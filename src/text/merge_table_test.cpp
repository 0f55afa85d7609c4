// Merging, short and long, ordered and not, against the definition: always the lowest priority, of these the leftmost.
#include "text/merge_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "text/merge_rules.h"
#include "text/test_vocabulary.h"

namespace quern {
namespace {

using Merge = TokenizerData::Merge;

std::vector<TokenId> merged_by_definition(const std::vector<Merge>& merges, std::vector<TokenId> ids) {
  std::map<std::pair<TokenId, TokenId>, size_t> priorities;
  for (size_t i = 0; i < merges.size(); ++i) priorities.emplace(std::pair(merges[i].left, merges[i].right), i);
  for (;;) {
    size_t best = merges.size(), where = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = priorities.find({ids[i], ids[i + 1]});
      if (found != priorities.end() && found->second < best) best = found->second, where = i;
    }
    if (best == merges.size()) return ids;
    ids[where] = merges[best].result;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(where) + 1);
  }
}

// A vocabulary over the letters a to d, made by joining random tokens; every split of every token is a merge, `shuffled` or in order.
struct RandomVocabulary {
  TokenizerData data;
  std::vector<Merge> merges;
};
RandomVocabulary random_vocabulary(std::mt19937& rng, bool shuffled) {
  RandomVocabulary v{small_vocabulary({}), {}};
  std::map<std::string, TokenId> ids;
  for (char c = 'a'; c <= 'd'; ++c) ids.emplace(std::string(1, c), c);
  for (int i = 0; i < 24; ++i) {
    const auto pick = [&] { return std::next(ids.begin(), static_cast<ptrdiff_t>(rng() % ids.size())); };
    const auto left = pick(), right = pick();
    const std::string both = left->first + right->first;
    if (both.size() > 12 || !ids.emplace(both, static_cast<TokenId>(v.data.tokens.size())).second) continue;
    v.merges.push_back({left->second, right->second, static_cast<TokenId>(v.data.tokens.size())});
    v.data.tokens.push_back(both);
  }
  if (shuffled) {
    for (const auto& [text, id] : ids) {
      for (size_t at = 1; at < text.size(); ++at) {
        const auto left = ids.find(text.substr(0, at)), right = ids.find(text.substr(at));
        if (left != ids.end() && right != ids.end()) v.merges.push_back({left->second, right->second, id});
      }
    }
    std::shuffle(v.merges.begin(), v.merges.end(), rng);
    std::map<std::pair<TokenId, TokenId>, bool> seen;  // a pair keeps its first priority
    std::erase_if(v.merges, [&](const Merge& m) { return !seen.emplace(std::pair(m.left, m.right), true).second; });
  }
  return v;
}

std::vector<TokenId> random_ids(std::mt19937& rng, size_t size) {
  std::vector<TokenId> ids(size);
  const uint32_t letters = 1 + rng() % 4;  // runs of one letter, too
  for (TokenId& id : ids) id = static_cast<TokenId>('a' + rng() % letters);
  return ids;
}

TEST(MergeTable, EqualsTheDefinition) {
  std::mt19937 rng(3);
  MergeTable::Scratch scratch;
  for (int round = 0; round < 600; ++round) {
    const RandomVocabulary v = random_vocabulary(rng, round % 2 == 0);
    MergeTable table(v.data, v.merges.size());
    for (const Merge& merge : v.merges) table.add(merge);
    for (const size_t size : {0, 1, 2, 3, 17, 64, 65, 66, 200}) {
      const std::vector<TokenId> ids = random_ids(rng, size);
      std::vector<TokenId> got = ids;
      table.merge(got, scratch);
      ASSERT_EQ(got, merged_by_definition(v.merges, ids)) << "round " << round << " size " << size;
    }
  }
}

TEST(MergeTable, DroppingMergesThatNeverHappenChangesNothing) {
  std::mt19937 rng(9);
  MergeTable::Scratch scratch;
  for (int round = 0; round < 400; ++round) {
    const RandomVocabulary v = random_vocabulary(rng, true);
    const std::vector<Merge> kept = reachable_merges(v.data, v.merges);
    ASSERT_LE(kept.size(), v.merges.size());
    MergeTable table(v.data, kept.size());
    for (const Merge& merge : kept) table.add(merge);
    for (const size_t size : {5, 30, 100}) {
      const std::vector<TokenId> ids = random_ids(rng, size);
      std::vector<TokenId> got = ids;
      table.merge(got, scratch);
      ASSERT_EQ(got, merged_by_definition(v.merges, ids)) << "round " << round << " size " << size;
    }
  }
}

// tiktoken's rule: of all neighbours that together are a token, the one of the lowest rank first.
std::vector<TokenId> merged_by_rank(const TokenizerData& data, std::vector<TokenId> ids) {
  std::map<std::string, TokenId> ranks;
  for (size_t id = 0; id < data.tokens.size(); ++id) ranks.emplace(data.tokens[id], static_cast<TokenId>(id));
  for (;;) {
    TokenId best = -1;
    size_t where = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = ranks.find(data.tokens[static_cast<size_t>(ids[i])] + data.tokens[static_cast<size_t>(ids[i + 1])]);
      if (found != ranks.end() && (best < 0 || found->second < best)) best = found->second, where = i;
    }
    if (best < 0) return ids;
    ids[where] = best;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(where) + 1);
  }
}

TEST(MergeTable, MergesOfAnOrderEqualTheRankRule) {
  std::mt19937 rng(21);
  MergeTable::Scratch scratch;
  for (int round = 0; round < 300; ++round) {
    TokenizerData data = random_vocabulary(rng, false).data;
    std::shuffle(data.tokens.begin() + 256, data.tokens.end(), rng);  // ranks that no training would give
    std::vector<TokenId> order(data.tokens.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<TokenId>(i);
    const std::vector<Merge> merges = merges_of_order(data, order);
    MergeTable table(data, merges.size());
    for (const Merge& merge : merges) table.add(merge);
    for (const size_t size : {4, 20, 90}) {
      const std::vector<TokenId> ids = random_ids(rng, size);
      std::vector<TokenId> got = ids;
      table.merge(got, scratch);
      ASSERT_EQ(got, merged_by_rank(data, ids)) << "round " << round << " size " << size;
    }
  }
}

}  // namespace
}  // namespace quern
