// Every sampling value out of its range is refused with its field's name and range; every value at the edge of its range is taken.
#include "engine/sampling_params.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

namespace quern {
namespace {

constexpr size_t kTokens = 1000;

struct Case {
  const char* field;
  const char* message;
  std::function<void(SamplingParams&)> change;
};

TEST(SamplingParams, RefusesValuesOutOfRange) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::string valid_stop(256, 'a'), long_stop(257, 'a');
  const Case cases[] = {
      {"temperature", "want 0 to 2, found -1", [](SamplingParams& p) { p.temperature = -1; }},
      {"temperature", "want 0 to 2, found nan", [=](SamplingParams& p) { p.temperature = nan; }},
      {"temperature", "want 0 to 2, found 1e+308", [](SamplingParams& p) { p.temperature = 1e308; }},
      {"top_p", "want more than 0, at most 1, found 0", [](SamplingParams& p) { p.top_p = 0; }},
      {"top_p", "want more than 0, at most 1, found 2", [](SamplingParams& p) { p.top_p = 2; }},
      {"top_p", "want more than 0, at most 1, found nan", [=](SamplingParams& p) { p.top_p = nan; }},
      {"top_k", "want -1 or 0 (off) or at least 1, found -2", [](SamplingParams& p) { p.top_k = -2; }},
      {"min_p", "want 0 to 1, found 5", [](SamplingParams& p) { p.min_p = 5; }},
      {"repetition_penalty", "want more than 0, at most 10, found 0", [](SamplingParams& p) { p.repetition_penalty = 0; }},
      {"repetition_penalty", "want more than 0, at most 10, found 1000000000", [](SamplingParams& p) { p.repetition_penalty = 1e9; }},
      {"presence_penalty", "want -2 to 2, found 1000000000", [](SamplingParams& p) { p.presence_penalty = 1e9; }},
      {"frequency_penalty", "want -2 to 2, found -2.5", [](SamplingParams& p) { p.frequency_penalty = -2.5; }},
      {"logit_bias", "want a token id from 0 to 999, found 1000",
       [](SamplingParams& p) {
         p.logit_bias = {{1000, 1}};
       }},
      {"logit_bias", "token 3: want -100 to 100, found 1000000000",
       [](SamplingParams& p) {
         p.logit_bias = {{3, 1e9}};
       }},
      {"logit_bias", "token 3: want one value, found two",
       [](SamplingParams& p) {
         p.logit_bias = {{3, 1}, {3, 2}};
       }},
      {"logit_bias", "want at most 1024 entries, found 1025",
       [](SamplingParams& p) {
         p.logit_bias.assign(1025, {1, 0});
       }},
      {"max_tokens", "want 1 to 2147483647, found 0", [](SamplingParams& p) { p.max_tokens = 0; }},
      {"max_tokens", "want 1 to 2147483647, found -1", [](SamplingParams& p) { p.max_tokens = -1; }},
      {"max_tokens", "want 1 to 2147483647, found 2147483648", [](SamplingParams& p) { p.max_tokens = 2147483648; }},
      {"min_tokens", "want 0 to 2147483647, found -1", [](SamplingParams& p) { p.min_tokens = -1; }},
      {"min_tokens", "want 0 to max_tokens, 5, found 6", [](SamplingParams& p) { p.max_tokens = 5, p.min_tokens = 6; }},
      {"stop", "want at most 16 strings, found 17", [](SamplingParams& p) { p.stop.assign(17, "x"); }},
      {"stop[1]", "want 1 to 256 bytes, found 0",
       [](SamplingParams& p) {
         p.stop = {"x", ""};
       }},
      {"stop[0]", "want 1 to 256 bytes, found 257", [=](SamplingParams& p) { p.stop = {long_stop}; }},
      {"stop[0]", "want UTF-8, found an invalid byte at 1", [](SamplingParams& p) { p.stop = {"a\xff"}; }},
      {"stop_token_ids[1]", "want a token id from 0 to 999, found -1",
       [](SamplingParams& p) {
         p.stop_token_ids = {1, -1};
       }},
      {"stop_token_ids", "want at most 1024 ids, found 1025", [](SamplingParams& p) { p.stop_token_ids.assign(1025, 1); }},
      {"logprobs", "want 0 to 20, found 21", [](SamplingParams& p) { p.logprobs = 21; }},
      {"logprobs", "want 0 to 20, found -1", [](SamplingParams& p) { p.logprobs = -1; }},
      {"prompt_logprobs", "want 0 to 20, found 21", [](SamplingParams& p) { p.prompt_logprobs = 21; }},
  };
  for (const Case& c : cases) {
    SamplingParams params;
    c.change(params);
    const auto problem = params.problem(kTokens);
    ASSERT_TRUE(problem) << c.field << ": " << c.message;
    EXPECT_EQ(problem->field, c.field);
    EXPECT_EQ(problem->message, c.message);
  }
}

TEST(SamplingParams, TakesValuesAtTheEdges) {
  const std::function<void(SamplingParams&)> changes[] = {
      [](SamplingParams&) {},
      [](SamplingParams& p) { p.temperature = 1e-40; },
      [](SamplingParams& p) { p.temperature = 2, p.top_p = 1e-300, p.top_k = -1, p.min_p = 1; },
      [](SamplingParams& p) { p.top_k = std::numeric_limits<int64_t>::max(), p.repetition_penalty = 10; },
      [](SamplingParams& p) { p.presence_penalty = -2, p.frequency_penalty = 2, p.seed = -1; },
      [](SamplingParams& p) {
        p.logit_bias = {{0, -100}, {999, 100}}, p.max_tokens = 1, p.min_tokens = 1;
      },
      [](SamplingParams& p) {
        p.stop.assign(16, std::string(256, 'a')), p.stop_token_ids = {0, 999}, p.logprobs = 20;
      },
  };
  for (const auto& change : changes) {
    SamplingParams params;
    change(params);
    const auto problem = params.problem(kTokens);
    EXPECT_FALSE(problem) << problem->field << ": " << problem->message;
  }
}

TEST(SamplingParams, TinyTemperaturesAreGreedy) {
  EXPECT_TRUE(SamplingParams{.temperature = 1e-40}.is_greedy());
  EXPECT_TRUE(SamplingParams{.temperature = 1e-5}.is_greedy());
  EXPECT_FALSE(SamplingParams{.temperature = 1e-4}.is_greedy());
}

}  // namespace
}  // namespace quern
