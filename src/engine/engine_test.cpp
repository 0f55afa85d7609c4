// Requests through the whole engine around a stub model: every answer is the one of a lone run, whatever shares the steps, and every
// request ends for the right reason.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "base/clock.h"
#include "base/utf8.h"
#include "engine/random_model.h"
#include "engine/sampler.h"
#include "engine/stub_runner.h"

namespace quern {
namespace {

struct RigOptions {
  StubOptions stub;
  EngineOptions options{.max_num_seqs = 4, .max_num_batched_tokens = 32, .max_model_len = 200};
  GenerationDefaults defaults;
  std::shared_ptr<const Tokenizer> tokenizer;
};

struct Rig {
  explicit Rig(const RigOptions& setup = {}) {
    auto owned = std::make_unique<StubRunner>(setup.stub);
    runner = owned.get();
    engine = std::make_unique<Engine>(std::move(owned), setup.tokenizer, setup.stub.num_tokens, setup.defaults, setup.options);
  }
  void run() {
    while (engine->step()) {
    }
  }
  StubRunner* runner;
  std::unique_ptr<Engine> engine;
};

std::vector<TokenId> ids(const SessionOutput& output) {
  std::vector<TokenId> ids;
  for (const OutputToken& token : output.tokens) ids.push_back(token.id);
  return ids;
}

void expect_balanced(const EngineStats& s) {
  EXPECT_EQ(s.accepted, s.waiting + s.running + s.finished_stop + s.finished_length + s.cancelled + s.failed);
}
void expect_idle(const EngineStats& s) {
  expect_balanced(s);
  EXPECT_EQ(s.waiting + s.running, 0U);
  EXPECT_EQ(s.waiting_prompt_tokens, 0U);
  EXPECT_EQ(s.kv_blocks_used, 0U);
}

TEST(Engine, AnswersAsTheModelWouldAlone) {
  Rig rig;
  Session first = rig.engine->submit({1, 2, 3}, {.seed = 7, .max_tokens = 20});
  Session second = rig.engine->submit(std::vector<TokenId>(120, 9), {.seed = 8, .max_tokens = 10});
  rig.run();
  const SessionOutput a = first.read_all(), b = second.read_all();
  EXPECT_EQ(ids(a), rig.runner->expected({1, 2, 3}, 7, 20));
  EXPECT_EQ(ids(b), rig.runner->expected(std::vector<TokenId>(120, 9), 8, 10));
  EXPECT_EQ(a.finish->reason, FinishReason::length);
  EXPECT_EQ(a.finish->usage.prompt_tokens, 3U);
  EXPECT_EQ(a.finish->usage.output_tokens, 20U);
  const Timing& t = a.finish->timing;
  EXPECT_TRUE(0 < t.submitted && t.submitted <= t.scheduled && t.scheduled <= t.first_token && t.first_token <= t.finished);
  expect_idle(rig.engine->stats());
  EXPECT_EQ(rig.engine->stats().prompt_tokens, 123U);
  EXPECT_EQ(rig.engine->stats().output_tokens, 30U);
}

TEST(Engine, AnswersWithoutMaxTokensEndWithTheContext) {
  Rig rig({.options = {.max_num_seqs = 4, .max_num_batched_tokens = 32, .max_model_len = 50}});
  Session session = rig.engine->submit({1, 2, 3}, {.seed = 7});
  rig.run();
  const SessionOutput output = session.read_all();
  EXPECT_EQ(output.tokens.size(), 47U);
  EXPECT_EQ(output.finish->reason, FinishReason::length);
}

TEST(Engine, EndTokensEndAnAnswerUnlessTheyAreIgnoredOrTooEarly) {
  RigOptions setup{.stub = {.num_tokens = 6}};
  setup.defaults.end_ids = {2};
  Rig rig(setup);
  const std::vector<TokenId> expected = rig.runner->expected({1}, 3, 60);
  const auto at = [&](TokenId id, size_t from = 0) {
    return static_cast<size_t>(std::find(expected.begin() + static_cast<std::ptrdiff_t>(from), expected.end(), id) - expected.begin());
  };
  Session plain = rig.engine->submit({1}, {.seed = 3, .max_tokens = 60});
  Session ignoring = rig.engine->submit({1}, {.seed = 3, .max_tokens = 60, .stop_token_ids = {4}, .ignore_eos = true});
  rig.run();
  const SessionOutput a = plain.read_all(), b = ignoring.read_all();
  EXPECT_EQ(a.finish->reason, FinishReason::stop);
  EXPECT_EQ(a.finish->stop_token, std::optional<TokenId>(2));
  EXPECT_EQ(a.tokens.size(), at(2) + 1);
  EXPECT_EQ(b.finish->stop_token, std::optional<TokenId>(4));
  EXPECT_EQ(b.tokens.size(), at(4) + 1);
}

TEST(Engine, MinTokensBansEndTokensUntilThen) {
  RigOptions setup;
  setup.defaults.end_ids = {2};
  ForwardBatch batch;
  const SamplingParams params{.min_tokens = 2, .stop_token_ids = {7}};
  const std::vector<TokenId> ends = {2, 7};
  const SamplerState sampler(params, std::vector<TokenId>{1}, ends, 1);
  sampler.append_row(batch, 1, 1);
  EXPECT_EQ(batch.biases.size(), 2U);
  sampler.append_row(batch, 2, 2);
  EXPECT_EQ(batch.sample_rows[1].biases_begin, batch.sample_rows[1].biases_end);
}

TEST(Engine, StopStringsEndTheTextWhereverTokensSplitThem) {
  RigOptions setup{.stub = {.num_tokens = 257}, .tokenizer = std::make_shared<Tokenizer>(testing::byte_tokenizer())};
  Rig rig(setup);
  std::string text;  // what the stub says after {65}
  const std::vector<TokenId> expected = rig.runner->expected({65}, 5, 60);
  for (const TokenId id : expected) text += static_cast<char>(id < 0x80 ? id : 0);
  // Two neighbouring ASCII bytes make a stop string that two tokens split.
  size_t split = 0;
  while (split + 1 < expected.size() && (expected[split] >= 0x80 || expected[split + 1] >= 0x80)) ++split;
  ASSERT_LT(split + 1, expected.size());
  const std::string stop = {static_cast<char>(expected[split]), static_cast<char>(expected[split + 1])};
  Session session = rig.engine->submit({65}, {.seed = 5, .max_tokens = 60, .stop = {stop, "never said"}});
  Session including = rig.engine->submit({65}, {.seed = 5, .max_tokens = 60, .stop = {stop}, .include_stop_str_in_output = true});
  rig.run();
  const SessionOutput a = session.read_all(), b = including.read_all();
  EXPECT_EQ(a.finish->reason, FinishReason::stop);
  EXPECT_EQ(a.finish->stop_string, stop);
  EXPECT_EQ(a.tokens.size(), split + 2);
  EXPECT_EQ(a.text.find(stop), std::string::npos);
  EXPECT_EQ(b.text, a.text + stop);
}

// What closes the reasoning is put in once, where the budget ends; the model goes on behind it as if it had said so.
TEST(Engine, ReasoningEndsWithItsBudget) {
  for (const bool is_open : {true, false}) {
    for (const size_t budget : {size_t{0}, size_t{5}}) {
      Rig rig;
      const std::vector<TokenId> prompt = {1, 2, 3}, closing = {249, 250, 248};
      std::vector<TokenId> expected = rig.runner->expected(prompt, 7, budget + 1);
      const Reasoning reasoning{.open = expected[0], .close = 250, .is_open = is_open, .budget = budget, .closing = closing};
      expected.resize(is_open ? budget : budget + 1);
      expected.insert(expected.end(), closing.begin(), closing.end());
      std::vector<TokenId> history = prompt;
      history.insert(history.end(), expected.begin(), expected.end());
      const std::vector<TokenId> rest = rig.runner->expected(history, 7, 4);
      expected.insert(expected.end(), rest.begin(), rest.end());
      Session session =
          rig.engine->submit(prompt, {.seed = 7, .max_tokens = static_cast<int64_t>(expected.size()), .reasoning = reasoning});
      rig.run();
      EXPECT_EQ(ids(session.read_all()), expected) << is_open << ' ' << budget;
    }
  }
}

TEST(Engine, TextIsWholeCharactersAndIncompleteOnesComeAtTheEnd) {
  RigOptions setup{.stub = {.num_tokens = 257}, .tokenizer = std::make_shared<Tokenizer>(testing::byte_tokenizer())};
  Rig rig(setup);
  Session session = rig.engine->submit({65}, {.seed = 11, .max_tokens = 80, .ignore_eos = true});
  SessionOutput all;
  std::string joined;
  while (rig.engine->step()) {
    const auto piece = session.read_for(std::chrono::milliseconds(0));
    if (!piece) continue;
    joined += piece->text;
    all.tokens.insert(all.tokens.end(), piece->tokens.begin(), piece->tokens.end());
  }
  joined += session.read().text;
  std::string bytes;
  for (const OutputToken& token : all.tokens) bytes += setup.tokenizer->is_control(token.id) ? "" : setup.tokenizer->bytes(token.id);
  EXPECT_EQ(joined, utf8_repaired(bytes));
}

TEST(Engine, RefusesWhatItCannotAnswerAndNamesTheField) {
  Rig rig;
  struct Case {
    Request request;
    ErrorCode code;
    const char* part;
  };
  const Case cases[] = {
      {{.prompt = {}}, invalid_input, "prompt: want at least 1 token"},
      {{.prompt = {1, -1}}, invalid_input, "prompt[1]: want a token id from 0 to 255, found -1"},
      {{.prompt = {256}}, invalid_input, "prompt[0]: want a token id from 0 to 255, found 256"},
      {{.prompt = std::vector<TokenId>(200, 1)}, invalid_input, "prompt: want fewer tokens than the context of 200, found 200"},
      {{.prompt = {1}, .params = {.max_tokens = 200}}, invalid_input, "prompt of 1 and 200 to come are 201 tokens, the context has 200"},
      {{.prompt = {1}, .params = {.temperature = -1}}, usage, "temperature: want 0 to 2, found -1"},
      {{.prompt = {1}, .params = {.stop = {"x"}}}, usage, "stop: this engine has no tokenizer"},
  };
  for (const Case& c : cases) {
    try {
      rig.engine->submit(c.request);
      ADD_FAILURE() << c.part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), c.code) << c.part;
      EXPECT_NE(error.message().find(c.part), std::string::npos) << error.message();
    }
  }
  EXPECT_EQ(rig.engine->stats().accepted, 0U);
}

TEST(Engine, RefusesWhatNeverFitsTheKvCache) {
  Rig rig({.stub = {.num_blocks = 3, .block_tokens = 16}});
  EXPECT_THROW(rig.engine->submit({1, 2}, {.max_tokens = 60}), Error);
  rig.engine->submit({1, 2}, {.max_tokens = 47});
}

TEST(Engine, CancelInAnyStateFreesTheBlocksWithinAStep) {
  Rig rig;
  Session queued = rig.engine->submit({1}, {.max_tokens = 5});
  queued.cancel();
  Session prefilling = rig.engine->submit(std::vector<TokenId>(150, 1), {.max_tokens = 5});
  Session decoding = rig.engine->submit({2}, {.max_tokens = 100});
  rig.engine->step();
  rig.engine->step();
  EXPECT_GT(rig.engine->stats().kv_blocks_used, 0U);
  prefilling.cancel();
  decoding.cancel();
  decoding.cancel();
  { const Session dropped = rig.engine->submit({3}, {.max_tokens = 5}); }
  rig.engine->step();
  expect_idle(rig.engine->stats());
  EXPECT_EQ(rig.engine->stats().cancelled, 4U);
  for (Session* session : {&queued, &prefilling, &decoding}) {
    EXPECT_EQ(session->read_all().finish->reason, FinishReason::cancelled);
    session->cancel();
    EXPECT_EQ(session->read().finish->reason, FinishReason::cancelled) << "the end can be read again";
  }
}

TEST(Engine, CancelAllEndsWhatWasAcceptedBeforeOnly) {
  Rig rig;
  Session before = rig.engine->submit({1}, {.max_tokens = 5});
  rig.engine->cancel_all();
  Session after = rig.engine->submit({1}, {.max_tokens = 5});
  rig.run();
  EXPECT_EQ(before.read_all().finish->reason, FinishReason::cancelled);
  EXPECT_EQ(after.read_all().finish->reason, FinishReason::length);
}

TEST(Engine, ARowThatIsNotFiniteEndsItsRequestOnly) {
  Rig rig({.stub = {.nan_token = 77}});
  const std::vector<TokenId> shared(40, 5);
  Session good = rig.engine->submit(shared, {.seed = 1, .max_tokens = 30});
  rig.engine->step();
  std::vector<TokenId> bad_prompt = shared;
  bad_prompt.push_back(77);
  Session bad = rig.engine->submit(bad_prompt, {.seed = 1, .max_tokens = 30});
  rig.run();
  const SessionOutput failed = bad.read_all(), fine = good.read_all();
  EXPECT_EQ(failed.finish->reason, FinishReason::error);
  EXPECT_EQ(failed.finish->detail, "numerical_error");
  EXPECT_TRUE(failed.tokens.empty());
  std::vector<TokenId> expected = rig.runner->expected(shared, 1, 30);
  if (const auto at = std::ranges::find(expected, 77); at != expected.end())
    expected.resize(static_cast<size_t>(at - expected.begin()) + 1);
  EXPECT_EQ(ids(fine), expected);
  expect_idle(rig.engine->stats());

  const size_t computed = rig.runner->computed_tokens();
  Session again = rig.engine->submit(shared, {.max_tokens = 1});
  rig.run();
  EXPECT_EQ(rig.runner->computed_tokens() - computed, shared.size()) << "nothing of the failed request is found again";
}

TEST(Engine, AStepThatThrowsEndsItsRequestsAndTheNextGoesOn) {
  Rig rig({.stub = {.failing_token = 99}});
  Session bad = rig.engine->submit({99}, {.max_tokens = 3});
  rig.run();
  Session good = rig.engine->submit({1}, {.seed = 4, .max_tokens = 3});
  rig.run();
  EXPECT_EQ(bad.read_all().finish->reason, FinishReason::error);
  EXPECT_EQ(ids(good.read_all()), rig.runner->expected({1}, 4, 3));
  EXPECT_EQ(rig.engine->stats().failed_steps, 1U);
  expect_idle(rig.engine->stats());
}

TEST(Engine, APromptThatIsKnownIsNotComputedAgain) {
  Rig rig;
  const std::vector<TokenId> prompt(100, 6);
  Session first = rig.engine->submit(prompt, {.seed = 1, .max_tokens = 2});
  rig.run();
  const size_t computed = rig.runner->computed_tokens();
  Session second = rig.engine->submit(prompt, {.seed = 1, .max_tokens = 2});
  Session salted = rig.engine->submit({.prompt = prompt, .params = {.seed = 1, .max_tokens = 2}, .cache_salt = "other"});
  rig.run();
  EXPECT_EQ(rig.runner->computed_tokens() - computed, 4 + 1 + 100U + 1);
  const SessionOutput a = first.read_all(), b = second.read_all(), c = salted.read_all();
  EXPECT_EQ(ids(a), ids(b));
  EXPECT_EQ(ids(a), ids(c));
  EXPECT_EQ(a.finish->usage.cached_tokens, 0U);
  EXPECT_EQ(b.finish->usage.cached_tokens, 96U);
  EXPECT_EQ(c.finish->usage.cached_tokens, 0U);
}

TEST(Engine, ManyEqualPromptsAreComputedOnce) {
  Rig rig({.stub = {.num_blocks = 200}, .options = {.max_num_seqs = 100, .max_num_batched_tokens = 128, .max_model_len = 200}});
  const std::vector<TokenId> prompt(99, 6);
  std::vector<Session> sessions;
  for (int i = 0; i < 100; ++i) sessions.push_back(rig.engine->submit(prompt, {.seed = 1, .max_tokens = 2}));
  rig.run();
  for (Session& session : sessions) EXPECT_EQ(ids(session.read_all()), rig.runner->expected(prompt, 1, 2));
  EXPECT_LE(rig.runner->computed_tokens(), 99 + 100 * (3 + 1U));
}

// Whatever else runs, however the prompt is cut, and after a preemption: each logprob once, in order.
TEST(Engine, PromptLogprobsAreThoseOfEveryTokenButTheFirst) {
  for (const size_t rows : {4UL, 5UL, 64UL}) {
    Rig rig({.stub = {.num_blocks = 24, .block_tokens = 4, .max_logit_rows = rows}});
    const std::vector<std::vector<TokenId>> prompts = {{7}, {1, 2, 3}, std::vector<TokenId>(50, 9), {4, 5, 6, 4, 5, 6, 4, 5, 6, 1}};
    std::vector<Session> sessions;
    for (const bool tells : {false, true, true}) {  // the first leaves the prompts in the cache
      for (const auto& prompt : prompts) {
        SamplingParams params{.seed = 7, .max_tokens = 12};
        if (tells) params.prompt_logprobs = 0;
        sessions.push_back(rig.engine->submit(prompt, params));
      }
      if (!tells) rig.run();
    }
    rig.run();
    for (size_t i = 0; i < sessions.size(); ++i) {
      const std::vector<TokenId>& prompt = prompts[i % prompts.size()];
      const SessionOutput output = sessions[i].read_all();
      EXPECT_EQ(ids(output), rig.runner->expected(prompt, 7, 12)) << rows << ", " << i;
      std::vector<TokenId> tokens;
      std::vector<float> logprobs;
      for (const OutputToken& token : output.prompt) tokens.push_back(token.id), logprobs.push_back(token.logprob);
      if (i < prompts.size()) {
        EXPECT_TRUE(tokens.empty());
        continue;
      }
      EXPECT_EQ(tokens, std::vector<TokenId>(prompt.begin() + 1, prompt.end())) << rows << ", " << i;
      EXPECT_EQ(logprobs, rig.runner->expected_prompt_logprobs(prompt)) << rows << ", " << i;
    }
    EXPECT_GT(rig.engine->stats().preemptions, 0U);
    expect_idle(rig.engine->stats());
  }
}

TEST(Engine, APromptWhoseLogitsAreNotFiniteEndsItsRequestOnly) {
  Rig rig({.stub = {.nan_token = 5}});
  Session bad = rig.engine->submit({1, 5, 3, 4}, {.seed = 7, .max_tokens = 4, .prompt_logprobs = 0});
  Session good = rig.engine->submit({1, 2, 3, 4}, {.seed = 7, .max_tokens = 4, .prompt_logprobs = 0});
  rig.run();
  EXPECT_EQ(bad.read_all().finish->detail, "numerical_error");
  EXPECT_EQ(good.read_all().prompt.size(), 3U);
  expect_idle(rig.engine->stats());
}

TEST(Engine, SeedsMakeAnswersRepeatableAndAbsentOnesDiffer) {
  Rig rig;
  std::vector<Session> sessions;
  for (const std::optional<int64_t> seed :
       {std::optional<int64_t>(5), std::optional<int64_t>(5), std::optional<int64_t>(-1), std::optional<int64_t>()}) {
    sessions.push_back(rig.engine->submit({1}, {.seed = seed, .max_tokens = 20}));
  }
  rig.run();
  std::vector<std::vector<TokenId>> answers;
  for (Session& session : sessions) answers.push_back(ids(session.read_all()));
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_NE(answers[2], answers[0]);
  EXPECT_NE(answers[2], answers[3]);
}

TEST(Engine, AnswersOfAnEngineThatIsGoneEndAsCancelled) {
  std::optional<Session> session;
  {
    Rig rig;
    session = rig.engine->submit({1}, {.max_tokens = 100});
    rig.engine->step();
  }
  const SessionOutput output = session->read_all();
  EXPECT_EQ(output.tokens.size(), 1U);
  EXPECT_EQ(output.finish->reason, FinishReason::cancelled);
}

TEST(Engine, AReaderThatNeverReadsHoldsNobodyUp) {
  Rig rig({.stub = {.num_blocks = 200}});
  rig.engine->start();
  const Session slow = rig.engine->submit({1}, {.seed = 1, .max_tokens = 150});
  for (int i = 0; i < 20; ++i) {
    Session quick = rig.engine->submit({2, i}, {.seed = 1, .max_tokens = 5});
    EXPECT_EQ(quick.read_all().tokens.size(), 5U);
  }
}

TEST(Engine, ListenersHearOfTokensAndOfTheEnd) {
  Rig rig;
  std::atomic<int> calls = 0;
  Session session = rig.engine->submit({1}, {.max_tokens = 5});
  session.set_listener([&] { ++calls; });
  rig.run();
  EXPECT_EQ(calls.load(), 5);  // the last token comes with the end
}

// Threads that submit, read, leave early and look at the figures while the engine runs: every answer is right, every count adds up, and
// nothing is held at the end. KV for a tenth of what is wanted at one time.
TEST(Engine, ManyThreadsAtOnce) {
  constexpr size_t kThreads = 6, kRequests = 40;
  Rig rig(
      {.stub = {.num_blocks = 24, .block_tokens = 8}, .options = {.max_num_seqs = 8, .max_num_batched_tokens = 24, .max_model_len = 150}});
  rig.engine->start();
  std::atomic<size_t> read_to_end = 0;
  std::atomic<bool> done = false;
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (size_t i = 0; i < kRequests; ++i) {
        std::vector<TokenId> prompt(1 + random() % 60, static_cast<TokenId>(random() % 3));
        prompt.push_back(static_cast<TokenId>(random() % 3));
        const auto seed = static_cast<int64_t>(random() % 5);
        const size_t count = 1 + random() % 40;
        Session session = rig.engine->submit(prompt, {.seed = seed, .max_tokens = static_cast<int64_t>(count)});
        const unsigned way = random() % 5;
        if (way == 0) continue;  // leaves at once
        if (way == 1) {
          session.read();
          session.cancel();
          EXPECT_TRUE(session.read_all().finish);
          continue;
        }
        const SessionOutput output = session.read_all();
        ASSERT_EQ(output.finish->reason, FinishReason::length) << output.finish->detail;
        ASSERT_EQ(ids(output), rig.runner->expected(prompt, static_cast<uint64_t>(seed), count)) << "thread " << t << " request " << i;
        ++read_to_end;
      }
    });
  }
  std::thread watcher([&] {
    while (!done) {
      expect_balanced(rig.engine->stats());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  for (std::thread& thread : threads) thread.join();
  done = true;
  watcher.join();
  rig.engine->stop();
  rig.run();
  const EngineStats stats = rig.engine->stats();
  expect_idle(stats);
  EXPECT_EQ(stats.accepted, kThreads * kRequests);
  EXPECT_EQ(stats.failed, 0U);
  EXPECT_GE(stats.finished_length, read_to_end.load());
  EXPECT_GT(stats.preemptions, 0U);
  EXPECT_GT(stats.prefix_hit_tokens, 0U);
}

}  // namespace
}  // namespace quern
