// Random arrivals without a model: the token at a position is a hash of all tokens before it, read through the blocks that the
// scheduler handed out, so that lost, mixed or stale contents show up in the text.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <random>

#include "base/error.h"
#include "base/parse.h"

namespace quern {
namespace {

constexpr TokenId kVocabulary = 97, kEnd = 0;

uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = (a ^ (b + 0x9e3779b97f4a7c15U + (a << 6) + (a >> 2))) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

// What a position holds once computed: all tokens up to it and the rope variant.
struct Slot {
  size_t position = 0;
  TokenId token = -1;
  uint64_t state = 0;
};

uint64_t next_state(uint64_t state, TokenId token, int32_t variant) {
  return mix(mix(state, static_cast<uint64_t>(token)), static_cast<uint64_t>(variant));
}
TokenId next_token(uint64_t state, uint64_t seed) { return static_cast<TokenId>(mix(state, seed) % kVocabulary); }

struct Arrival {
  std::unique_ptr<Sequence> sequence;
  uint64_t seed;
  std::vector<TokenId> expected;  // prompt and output of a lone run
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed) {
    options_.max_num_seqs = pick(1, 8);
    options_.max_num_batched_tokens = options_.max_num_seqs + pick(0, 40);
    options_.max_prefill_chunk = pick(0, 2) == 0 ? pick(1, 20) : 0;
    options_.enable_prefix_caching = pick(0, 4) != 0;
    use_priorities_ = pick(0, 3) == 0;
    pool_.emplace(pick(4, 40), pick(1, 9));
    scheduler_.emplace(options_, *pool_);
    slots_.resize(pool_->num_blocks() * pool_->block_tokens());
    for (size_t i = 0; i < 4; ++i) {  // shared beginnings
      std::vector<TokenId> tokens(pick(1, 30));
      for (TokenId& token : tokens) token = static_cast<TokenId>(pick(1, 3));
      beginnings_.push_back(tokens);
    }
  }

  void act() {
    if (live_.size() < 12 && pick(0, 3) == 0) arrive();
    if (!live_.empty() && pick(0, 24) == 0) leave(any(), false);
    if (!live_.empty() && pick(0, 99) == 0) leave(any(), true);
    if (pick(0, 199) == 0) pool_->forget_all();
    step();
  }

  void finish_all() {
    for (size_t steps = 0; !live_.empty(); ++steps) {
      ASSERT_LT(steps, 20'000U) << "no end";
      step();
      if (::testing::Test::HasFatalFailure()) return;
    }
    EXPECT_TRUE(scheduler_->idle());
    EXPECT_EQ(pool_->num_free(), pool_->num_blocks());
    EXPECT_EQ(scheduler_->counts().waiting_prompt_tokens, 0U);
    std::vector<bool> granted(pool_->num_blocks());
    while (const auto block = pool_->grant()) {
      EXPECT_FALSE(granted[*block]) << "block " << *block << " twice";
      granted[*block] = true;
    }
    EXPECT_EQ(std::ranges::count(granted, true), static_cast<std::ptrdiff_t>(pool_->num_blocks()));
  }

  uint64_t finished() const { return finished_; }
  SchedulerCounts counts() const { return scheduler_->counts(); }

 private:
  size_t pick(size_t low, size_t high) { return std::uniform_int_distribution<size_t>(low, high)(random_); }
  uint64_t any() {
    auto at = live_.begin();
    std::advance(at, pick(0, live_.size() - 1));
    return at->first;
  }

  void arrive() {
    std::vector<TokenId> prompt = beginnings_[pick(0, beginnings_.size() - 1)];
    for (size_t i = pick(0, 20); i > 0; --i) prompt.push_back(static_cast<TokenId>(pick(1, 3)));
    const size_t most = pool_->num_blocks() * pool_->block_tokens();
    const size_t max_output = pick(1, 30);
    Arrival arrival{std::make_unique<Sequence>(next_id_, prompt, SamplingParams{}, max_output), pick(0, 5), prompt};
    arrival.sequence->scope = {static_cast<int32_t>(pick(0, 1)), pick(0, 4) == 0 ? "salt" : ""};
    if (use_priorities_) arrival.sequence->priority = static_cast<int64_t>(pick(0, 2));
    if (prompt.size() + max_output - 1 > most) {
      EXPECT_THROW(scheduler_->add(*arrival.sequence), Error);
      return;
    }
    uint64_t state = 0;
    for (size_t i = 0; i < arrival.expected.size(); ++i) {
      state = next_state(state, arrival.expected[i], arrival.sequence->scope.rope_variant);
      if (i + 1 < prompt.size()) continue;
      if (arrival.expected.size() == prompt.size() + max_output || (i >= prompt.size() && arrival.expected[i] == kEnd)) break;
      arrival.expected.push_back(next_token(state, arrival.seed));
    }
    scheduler_->add(*arrival.sequence);
    live_.emplace(next_id_++, std::move(arrival));
  }  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): live_ owns it

  void leave(uint64_t id, bool is_error) {
    Arrival& arrival = live_.at(id);
    if (is_error) {
      for (const BlockId block : scheduler_->forget(*arrival.sequence)) clear(block);
    }
    scheduler_->remove(*arrival.sequence);
    scheduler_->remove(*arrival.sequence);
    live_.erase(id);
  }

  void clear(BlockId block) {
    for (size_t i = 0; i < pool_->block_tokens(); ++i) slots_[block * pool_->block_tokens() + i] = {};
  }

  void step() {
    const StepPlan plan = scheduler_->plan(pick(0, 3) == 0 ? pick(0, 60) : static_cast<size_t>(-1));
    check_plan(plan);
    if (::testing::Test::HasFatalFailure()) return;
    std::vector<uint64_t> last_states;
    for (const ScheduledChunk& chunk : plan.chunks) {
      run(chunk, last_states.emplace_back());
      if (::testing::Test::HasFatalFailure()) return;
    }
    scheduler_->commit(plan);
    for (size_t i = 0; i < plan.chunks.size(); ++i) {
      if (plan.chunks[i].samples) append(*plan.chunks[i].sequence, last_states[i]);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }

  void check_plan(const StepPlan& plan) {
    size_t tokens = 0, longest_seen = 1;
    std::map<uint64_t, int> times;
    for (const ScheduledChunk& chunk : plan.chunks) {
      const Sequence& sequence = *chunk.sequence;
      tokens += chunk.num_tokens;
      EXPECT_GT(chunk.num_tokens, 0U);
      if (chunk.num_tokens == 1) {
        ASSERT_EQ(longest_seen, 1U) << "one-token rows come first";
      }
      longest_seen = std::max(longest_seen, chunk.num_tokens);
      ASSERT_EQ(++times[sequence.id], 1);
      ASSERT_EQ(sequence.state, Sequence::State::running);
      ASSERT_EQ(chunk.first_position, sequence.computed_tokens);
      ASSERT_LE(chunk.first_position + chunk.num_tokens, sequence.tokens.size());
      ASSERT_EQ(chunk.samples, chunk.first_position + chunk.num_tokens == sequence.tokens.size());
      ASSERT_LE(chunk.first_position + chunk.num_tokens, sequence.blocks.size() * pool_->block_tokens());
    }
    ASSERT_EQ(tokens, plan.num_tokens);
    ASSERT_LE(tokens, options_.max_num_batched_tokens);
    ASSERT_LE(scheduler_->counts().running, options_.max_num_seqs);
    ASSERT_EQ(scheduler_->counts().running + scheduler_->counts().waiting, live_.size());
    if (live_.empty()) return;
    const Sequence* oldest = nullptr;  // of those that run; of all, when all have one priority
    for (const auto& [id, arrival] : live_) {
      const Sequence& sequence = *arrival.sequence;
      if (use_priorities_ && sequence.state != Sequence::State::running) continue;
      if (oldest == nullptr || sequence.before(*oldest)) oldest = &sequence;
    }
    ASSERT_NE(oldest, nullptr);
    ASSERT_TRUE(times.contains(oldest->id)) << "the oldest, " << oldest->id << ", waits";
  }

  // Reads every earlier position of the sequence through its blocks, writes the new ones.
  void run(const ScheduledChunk& chunk, uint64_t& state) {
    const Sequence& sequence = *chunk.sequence;
    const size_t block_tokens = pool_->block_tokens();
    state = 0;
    for (size_t position = 0; position < chunk.first_position + chunk.num_tokens; ++position) {
      const BlockId block = sequence.blocks[position / block_tokens];
      Slot& slot = slots_[block * block_tokens + position % block_tokens];
      const TokenId token = sequence.tokens[position];
      state = next_state(state, token, sequence.scope.rope_variant);
      if (position >= chunk.first_position) {
        ASSERT_EQ(pool_->holders(block), 1U) << "sequence " << sequence.id << " writes block " << block << " that others hold";
        ASSERT_EQ(pool_->prefix(block), kNoPrefix) << "sequence " << sequence.id << " writes block " << block << " that others may find";
        slot = {position, token, state};
      }
      ASSERT_TRUE(slot.position == position && slot.token == token && slot.state == state)
          << "sequence " << sequence.id << " position " << position << " block " << block << ": lost, mixed or stale";
    }
    for (const auto& [id, arrival] : live_) {
      if (id == sequence.id) continue;
      for (size_t i = chunk.first_position / block_tokens; i < sequence.blocks.size(); ++i) {
        ASSERT_FALSE(std::ranges::count(arrival.sequence->blocks, sequence.blocks[i]))
            << "block " << sequence.blocks[i] << " has two writers";
      }
    }
  }

  void append(Sequence& sequence, uint64_t state) {
    const Arrival& arrival = live_.at(sequence.id);
    sequence.tokens.push_back(next_token(state, arrival.seed));
    ASSERT_LE(sequence.tokens.size(), arrival.expected.size());
    ASSERT_EQ(sequence.tokens.back(), arrival.expected[sequence.tokens.size() - 1])
        << "sequence " << sequence.id << ", preempted " << sequence.num_preemptions << " times";
    if (sequence.tokens.size() == arrival.expected.size()) {
      ++finished_;
      leave(sequence.id, false);
    }
  }

  std::mt19937_64 random_;
  SchedulerOptions options_;
  bool use_priorities_ = false;
  std::optional<BlockPool> pool_;
  std::optional<Scheduler> scheduler_;
  std::vector<Slot> slots_;
  std::vector<std::vector<TokenId>> beginnings_;
  std::map<uint64_t, Arrival> live_;
  uint64_t next_id_ = 1, finished_ = 0;
};

// One run: QUERN_SEED=N engine_test --gtest_filter=Scheduler.RandomArrivals
TEST(Scheduler, RandomArrivals) {
  const char* text = std::getenv("QUERN_SEED");
  const auto only = parse_number<uint64_t>(text == nullptr ? "" : text);
  uint64_t finished = 0, preemptions = 0, hits = 0;
  for (uint64_t seed = only.value_or(1); seed <= only.value_or(300); ++seed) {
    Simulation simulation(seed);
    for (int step = 0; step < 200; ++step) {
      simulation.act();
      ASSERT_FALSE(HasFailure()) << "seed " << seed << ", step " << step << ": QUERN_SEED=" << seed
                                 << " engine_test --gtest_filter=Scheduler.RandomArrivals";
    }
    simulation.finish_all();
    ASSERT_FALSE(HasFailure()) << "seed " << seed << ": QUERN_SEED=" << seed << " engine_test --gtest_filter=Scheduler.RandomArrivals";
    finished += simulation.finished();
    preemptions += simulation.counts().preemptions;
    hits += simulation.counts().prefix_hit_tokens;
  }
  if (!only) {  // the runs do reach what they are meant to test
    EXPECT_GT(finished, 3000U);
    EXPECT_GT(preemptions, 500U);
    EXPECT_GT(hits, 10'000U);
  }
  RecordProperty("finished", static_cast<int>(finished));
}

struct Fixture {
  explicit Fixture(size_t num_blocks, SchedulerOptions options = {}) : pool(num_blocks, 4), scheduler(options, pool) {}
  Sequence& add(std::vector<TokenId> prompt, size_t max_output) {
    sequences.push_back(std::make_unique<Sequence>(sequences.size() + 1, std::move(prompt), SamplingParams{}, max_output));
    scheduler.add(*sequences.back());
    return *sequences.back();
  }
  // Runs a step in which every sampled token is `token`; returns the chunks as {sequence, tokens}.
  std::map<uint64_t, size_t> step(TokenId token = 5) {
    const StepPlan plan = scheduler.plan();
    scheduler.commit(plan);
    std::map<uint64_t, size_t> chunks;
    for (const ScheduledChunk& chunk : plan.chunks) {
      chunks[chunk.sequence->id] = chunk.num_tokens;
      if (chunk.samples) chunk.sequence->tokens.push_back(token);
    }
    return chunks;
  }
  BlockPool pool;
  Scheduler scheduler;
  std::vector<std::unique_ptr<Sequence>> sequences;
};
using Chunks = std::map<uint64_t, size_t>;

TEST(Scheduler, RefusesWhatCanNeverFitWithBothNumbers) {
  Fixture f(3);
  f.add(std::vector<TokenId>(8, 1), 5);  // the last token needs no place: 12 of 12
  try {
    f.add(std::vector<TokenId>(8, 1), 6);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), invalid_input);
    EXPECT_NE(error.message().find("need 4 KV blocks of 4 tokens, the cache has 3"), std::string::npos) << error.message();
  }
}

TEST(Scheduler, RefusesABudgetThatCouldStarvePrompts) {
  BlockPool pool(4, 4);
  EXPECT_THROW(Scheduler({.max_num_seqs = 8, .max_num_batched_tokens = 7}, pool), Error);
  EXPECT_THROW(Scheduler({.max_num_seqs = 0}, pool), Error);
}

TEST(Scheduler, DecodingComesBeforePromptsWithinTheBudget) {
  Fixture f(100, {.max_num_seqs = 4, .max_num_batched_tokens = 10});
  f.add({1, 2, 3}, 5);
  EXPECT_EQ(f.step(), (Chunks{{1, 3}}));
  f.add(std::vector<TokenId>(30, 1), 5);
  EXPECT_EQ(f.step(), (Chunks{{1, 1}, {2, 9}}));
}

TEST(Scheduler, ALongPromptLetsShortOnesInAndAdvances) {
  Fixture f(100, {.max_num_seqs = 4, .max_num_batched_tokens = 64});
  f.add(std::vector<TokenId>(200, 1), 5);
  f.add(std::vector<TokenId>(150, 2), 5);
  f.add(std::vector<TokenId>(10, 3), 5);
  EXPECT_EQ(f.step(), (Chunks{{1, 32}, {2, 22}, {3, 10}}));
}

TEST(Scheduler, EqualPromptsAreComputedOneAfterTheOther) {
  Fixture f(100, {.max_num_seqs = 4, .max_num_batched_tokens = 20, .enable_prefix_caching = false});
  f.add(std::vector<TokenId>(16, 1), 5);
  f.add(std::vector<TokenId>(16, 2), 5);
  EXPECT_EQ(f.step(), (Chunks{{1, 10}, {2, 10}})) << "half for the oldest, half for the shortest other";
}

TEST(Scheduler, LastPromptTokenIsComputedEvenWhenEveryBlockIsKnown) {
  Fixture f(100);
  f.add({1, 2, 3, 4, 5, 6, 7, 8}, 5);
  f.step();
  Sequence& second = f.add({1, 2, 3, 4, 5, 6, 7, 8}, 5);
  EXPECT_EQ(f.step(), (Chunks{{1, 1}, {2, 4}}));
  EXPECT_EQ(second.cached_prompt_tokens, 4U);
  EXPECT_EQ(second.blocks[1], f.sequences[0]->blocks[1]) << "the recomputed block is the published one again";
}

TEST(Scheduler, APromptFollowsOneThatIsBeingComputed) {
  Fixture f(100, {.max_num_seqs = 4, .max_num_batched_tokens = 16});
  f.add(std::vector<TokenId>(40, 1), 5);
  f.add(std::vector<TokenId>(41, 1), 5);
  size_t computed = 0;
  while (f.sequences[1]->output_tokens() == 0) {
    for (const auto& [id, tokens] : f.step()) computed += tokens;
  }
  EXPECT_LE(computed, 40U + 16) << "the second prompt takes what the first has computed meanwhile";
}

TEST(Scheduler, PreemptsTheYoungestAndRecomputesItLater) {
  Fixture f(4, {.max_num_seqs = 2, .max_num_batched_tokens = 16, .enable_prefix_caching = false});
  f.add({1, 2, 3, 4}, 9);
  f.add({5, 6, 7}, 9);
  while (f.sequences[1]->state != Sequence::State::waiting || f.sequences[1]->output_tokens() == 0) f.step();
  EXPECT_EQ(f.sequences[1]->num_preemptions, 1U);
  EXPECT_TRUE(f.sequences[1]->blocks.empty());
  EXPECT_EQ(f.sequences[0]->state, Sequence::State::running);
  const size_t output = f.sequences[1]->output_tokens();
  f.scheduler.remove(*f.sequences[0]);
  EXPECT_EQ(f.step(), (Chunks{{2, 3 + output}}));
}

TEST(Scheduler, LowerPriorityValuesGoFirst) {
  Fixture f(100, {.max_num_seqs = 1, .max_num_batched_tokens = 16});
  f.add({1, 2}, 5);
  f.sequences.push_back(std::make_unique<Sequence>(2, std::vector<TokenId>{3, 4, 5}, SamplingParams{}, 5));
  f.sequences.back()->priority = -1;
  f.scheduler.add(*f.sequences.back());
  EXPECT_EQ(f.step(), (Chunks{{2, 3}}));
}

}  // namespace
}  // namespace quern
