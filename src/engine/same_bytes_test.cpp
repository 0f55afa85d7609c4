// The promise: an answer's tokens and logprobs are the same bits alone, in any batch, with prompts cut anyhow, with a prefix hit, after a
// preemption, and with any number of threads, for every weight format. Random weights: the smallest difference would show.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "backend/test_device.h"
#include "engine/engine.h"
#include "engine/random_model.h"

namespace quern {
namespace {

using testing::random_model_config;
using testing::RandomEngineFile;

struct Asked {
  std::vector<TokenId> prompt;
  SamplingParams params;
};
using Answer = std::vector<std::pair<TokenId, uint32_t>>;  // ids and the bits of their logprobs

// Prompts of up to 150 tokens, those of 71 to 90 begin alike; half of the answers are greedy.
std::vector<Asked> questions(std::initializer_list<size_t> lengths, int64_t max_tokens) {
  std::vector<Asked> asked;
  std::mt19937 random(3);
  std::vector<TokenId> beginning(70);
  for (TokenId& token : beginning) token = static_cast<TokenId>(random() % 250);
  for (const size_t length : lengths) {
    std::vector<TokenId> prompt = length > 70 && length < 100 ? beginning : std::vector<TokenId>();
    while (prompt.size() < length) prompt.push_back(static_cast<TokenId>(random() % 250));
    const bool is_greedy = length % 2 == 1;
    asked.push_back({prompt,
                     {.temperature = is_greedy ? 0.0 : 1.0,
                      .top_p = length == 2 ? 0.9 : 1.0,
                      .top_k = length == 64 ? 40 : 0,
                      .repetition_penalty = length == 33 ? 1.1 : 1.0,
                      .seed = static_cast<int64_t>(length),
                      .max_tokens = max_tokens,
                      .logprobs = 0}});
  }
  return asked;
}

Answer read(Session session) {
  const SessionOutput output = session.read_all();
  EXPECT_EQ(output.finish->reason, FinishReason::length) << output.finish->detail;
  Answer answer;
  for (const OutputToken& token : output.tokens) answer.emplace_back(token.id, std::bit_cast<uint32_t>(token.logprob));
  return answer;
}

struct Way {
  const char* name;
  size_t threads = 1;
  EngineOptions options;
  bool one_by_one = false;
  int rounds = 1;  // all but the first find their prompts in the prefix cache
  bool must_preempt = false;
};

EngineOptions options(size_t max_num_seqs, size_t step_tokens, size_t chunk, size_t kv_blocks, bool caching, const ModelConfig& config,
                      Format kv) {
  const size_t block_tokens = 8;
  return {.max_num_seqs = max_num_seqs,
          .max_num_batched_tokens = step_tokens,
          .max_model_len = kv_blocks < 23 ? 120U : 180U,
          .block_tokens = block_tokens,
          .kv_format = kv,
          .kv_cache_bytes = kv_blocks * KvCache::bytes_per_block(config, block_tokens, kv),
          .max_prefill_chunk = chunk,
          .max_step_seconds = 0,
          .enable_prefix_caching = caching};
}

std::vector<Answer> answers(const RandomEngineFile& file, const Way& way, const std::vector<Asked>& asked) {
  Backend backend({.device = testing::test_device(), .num_threads = way.threads});
  Engine engine(file.file(), backend, way.options);
  std::vector<Answer> answers;
  for (int round = 0; round < way.rounds; ++round) {
    answers.clear();
    std::vector<Session> sessions;
    for (const Asked& a : asked) {
      sessions.push_back(engine.submit(a.prompt, a.params));
      while (way.one_by_one && engine.step()) {
      }
    }
    while (engine.step()) {
    }
    for (Session& session : sessions) answers.push_back(read(std::move(session)));
  }
  if (way.must_preempt) {
    EXPECT_GT(engine.stats().preemptions, 0U) << way.name;
  }
  if (way.rounds > 1) {
    EXPECT_GT(engine.stats().prefix_hit_tokens, 0U) << way.name;
  }
  EXPECT_EQ(engine.stats().kv_blocks_used, 0U);
  return answers;
}

std::vector<Way> ways(const ModelConfig& config, Format kv, bool all) {
  const auto o = [&](size_t seqs, size_t tokens, size_t chunk, size_t blocks, bool caching) {
    return options(seqs, tokens, chunk, blocks, caching, config, kv);
  };
  std::vector<Way> ways = {
      {.name = "together, 2 threads, chunks of 7, twice", .threads = 2, .options = o(9, 40, 7, 200, true), .rounds = 2},
      {.name = "preempted, 3 threads", .threads = 3, .options = o(9, 64, 0, all ? 26 : 18, true), .must_preempt = true},
  };
  if (!all) return ways;
  for (const size_t chunk : {1, 2, 3, 5, 16, 31, 64, 100}) {
    ways.push_back({.name = "together, chunks", .options = o(9, 200, chunk, 200, false)});
  }
  for (const size_t seqs : {2, 3, 5}) ways.push_back({.name = "few at a time", .options = o(seqs, 50, 0, 200, false)});
  ways.push_back({.name = "alone, 3 threads, twice", .threads = 3, .options = o(1, 200, 0, 200, true), .one_by_one = true, .rounds = 2});
  ways.push_back({.name = "preempted without a prefix cache", .options = o(9, 30, 4, 24, false), .must_preempt = true});
  return ways;
}

// On the CPU: the same bits. On a GPU a prompt chunk and a decode row add in different orders, so that now and then a sum lands on the
// other side of a rounding to 16 bits. Roundings on the way to a logit, each of up to u = 2^-11 of its value: normed rows (2 layers * 2 +
// 1), q, K, V, softmax weights, attended and gated rows (2 layers * 6): 17. A rounding that differs moves its value by 2 u; the logit is a
// sum of hidden = 256 products with independent weights, so that such moves of all its terms add as their root of squares: relative to the
// logit's own size s, 2 u a rounding. s is the spread of the logits: the last norm makes rows of size 1, the tied embedding's weights have
// a spread of 2 / sqrt(256), so s = 2, and the largest of 272 logits of spread 2 lies within 4 s = 8. An error in the residual stream
// passes the layers after it with a gain of about 1 (the branches' weights have a gain of 2, twice, but reach the stream through norms).
// All 17 at the same time, in root of squares, four of its spreads: 4 * sqrt(17) * 2 u * s = 0.032 for a logit, and as much for the log of
// the sum over all: 0.064 for a logprob. An answer may go another way at a near tie or, drawn at random, at the edge of a draw; what
// follows is not compared.
bool same_answer(const Answer& got, const Answer& want) {
  if (!testing::tests_run_on_a_gpu()) return got == want;
  if (got.size() != want.size()) return false;
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::fabs(std::bit_cast<float>(got[i].second) - std::bit_cast<float>(want[i].second)) > 0.064F) {
      return got[i].first != want[i].first;  // a draw at random may fall on the other side of an edge
    }
    if (got[i].first != want[i].first) return true;
  }
  return true;
}

void check_all_ways(const ModelConfig& config, Format format, Format kv, bool all) {
  const RandomEngineFile file(config, format);
  const std::vector<Asked> asked = all ? questions({1, 2, 17, 33, 64, 150, 71, 75, 90}, 20) : questions({1, 33, 64, 71, 75}, 24);
  const std::vector<Answer> alone =
      answers(file, {.name = "alone", .options = options(1, 200, 0, 200, false, config, kv), .one_by_one = true}, asked);
  size_t differing = 0, compared = 0;
  for (const Way& way : ways(config, kv, all)) {
    const std::vector<Answer> got = answers(file, way, asked);
    for (size_t i = 0; i < asked.size(); ++i, ++compared) {
      differing += got[i] == alone[i] ? 0 : 1;
      ASSERT_TRUE(same_answer(got[i], alone[i])) << format_name(format) << ", KV " << format_name(kv) << ", " << way.name << ", chunk "
                                                 << way.options.max_prefill_chunk << ", prompt of " << asked[i].prompt.size() << " tokens";
    }
  }
  if (testing::tests_run_on_a_gpu())
    printf("%s: %zu of %zu answers differ in a bit\n", std::string(format_name(format)).c_str(), differing, compared);
}

// Answers to prompts of one token: every row is a decode row, and those have the same bits in any batch of up to 64, on a GPU too.
TEST(SameBytes, DecodeRowsInFullBatches) {
  for (const Format format : {Format::f16, Format::bf16, Format::i8, Format::i8g64, Format::i4g128, Format::i4g32z, Format::q4_k}) {
    const ModelConfig config = random_model_config();
    const RandomEngineFile file(config, format);
    std::vector<Asked> asked;
    for (TokenId token = 0; token < 40; ++token) {
      asked.push_back(
          {{token * 5}, {.temperature = token % 2 == 0 ? 0.0 : 1.0, .seed = token, .max_tokens = 1 + token * 7 % 31, .logprobs = 0}});
    }
    const std::vector<Answer> alone =
        answers(file, {.name = "alone", .options = options(1, 64, 0, 400, false, config, Format::f16), .one_by_one = true}, asked);
    for (const size_t seqs : {3, 9, 40}) {
      const Way way = {.name = "together", .options = options(seqs, 64, 0, 400, false, config, Format::f16)};
      EXPECT_EQ(answers(file, way, asked), alone) << format_name(format) << ", " << seqs << " at a time";
    }
  }
}

// The logprobs of an answer's tokens, told again as those of a prompt that holds the answer.
TEST(SameBytes, PromptLogprobsAreThoseOfTheAnswer) {
  const ModelConfig config = random_model_config();
  const RandomEngineFile file(config, Format::i4g32);
  Backend backend({.device = testing::test_device(), .num_threads = 1});
  Engine engine(file.file(), backend, options(9, 64, 0, 200, true, config, Format::f16));
  std::vector<Session> answers, told;
  const std::vector<Asked> asked = questions({1, 17, 75, 90}, 20);
  const auto run = [&] {
    while (engine.step()) {
    }
  };
  for (const Asked& a : asked) answers.push_back(engine.submit(a.prompt, a.params));
  run();
  std::vector<Answer> wanted;
  for (size_t i = 0; i < asked.size(); ++i) {
    wanted.push_back(read(std::move(answers[i])));
    std::vector<TokenId> prompt = asked[i].prompt;
    for (const auto& [id, unused] : wanted.back()) prompt.push_back(id);
    told.push_back(engine.submit(prompt, {.temperature = 0, .max_tokens = 1, .prompt_logprobs = 2}));
  }
  run();
  for (size_t i = 0; i < asked.size(); ++i) {
    const SessionOutput output = told[i].read_all();
    ASSERT_EQ(output.prompt.size(), asked[i].prompt.size() + 19);
    Answer found;
    for (size_t t = asked[i].prompt.size() - 1; t < output.prompt.size(); ++t) {
      EXPECT_EQ(output.prompt[t].top.size(), 2U);
      found.emplace_back(output.prompt[t].id, std::bit_cast<uint32_t>(output.prompt[t].logprob));
    }
    EXPECT_TRUE(same_answer(found, wanted[i])) << i;
  }
}

TEST(SameBytes, EveryWeightFormat) {
  for (const FormatInfo& info : kFormats) check_all_ways(random_model_config(), info.format, Format::f16, false);
}

TEST(SameBytes, EveryWayOfScheduling) { check_all_ways(random_model_config(), Format::i4g32, Format::f16, true); }

TEST(SameBytes, KeysAndValuesInF32) { check_all_ways(random_model_config(), Format::f32, Format::f32, false); }

TEST(SameBytes, DynamicNtkAndLognPerSequence) {
  ModelConfig config = random_model_config();
  config.family = "qwen1";
  config.num_kv_heads = 4;
  config.rope.scaling = RopeConfig::Scaling::qwen_ntk;
  config.rope.original_context = 32;  // prompts on both sides of 32, 64 and 128; answers cross them
  config.logn_attention = true, config.logn_length = 32;
  check_all_ways(config, Format::bf16, Format::f16, true);
}

TEST(SameBytes, SlidingWindowAndHeadNorms) {
  ModelConfig config = random_model_config();
  config.family = "qwen3";
  config.qkv_bias = false, config.qk_norm = true;
  config.windows = {0, 20};
  check_all_ways(config, Format::i8, Format::bf16, false);
}

}  // namespace
}  // namespace quern
