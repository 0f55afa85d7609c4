// The two window rules count the tokens that llama.cpp and Hugging Face count, each once, and steps cover every window in order.
#include "eval/windows.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "eval/window_runner.h"

namespace quern {
namespace {

TEST(Windows, ChunksCountTheirSecondHalf) {
  const std::vector<TokenWindow> windows = make_windows(1100, {.context = 512});
  ASSERT_EQ(windows.size(), 2U);  // 76 tokens are left over
  EXPECT_EQ(windows[1].begin, 512U);
  EXPECT_EQ(windows[1].end, 1024U);
  EXPECT_EQ(windows[1].num_targets(), 255U);  // tokens 257 to 511 of the chunk
  EXPECT_EQ(windows[1].first_target, 512U + 257U);
  EXPECT_EQ(make_windows(5120, {.context = 512, .max_windows = 3}).size(), 3U);
  EXPECT_THROW(make_windows(511, {.context = 512}), Error);
}

// range(0, n, stride), end = min(begin + context, n), counted: end - previous end; the loop ends with the text.
TEST(Windows, StridesCountEachTokenOnce) {
  const std::vector<TokenWindow> windows = make_windows(1300, {.context = 1024, .stride = 200});
  ASSERT_EQ(windows.size(), 3U);
  EXPECT_EQ(windows[0].num_targets(), 1023U);  // the first token is predicted from nothing
  EXPECT_EQ(windows[0].weight, 1023);
  EXPECT_EQ(windows[1].begin, 200U);
  EXPECT_EQ(windows[1].num_targets(), 200U);
  EXPECT_EQ(windows[1].weight, 199);
  EXPECT_EQ(windows[2].end, 1300U);
  EXPECT_EQ(windows[2].num_targets(), 76U);
  size_t targets = 0;
  for (const TokenWindow& window : windows) targets += window.num_targets();
  EXPECT_EQ(targets, 1299U);
  EXPECT_EQ(make_windows(20, {.context = 1024, .stride = 200}).size(), 1U);
  EXPECT_THROW(make_windows(20, {.context = 16, .stride = 17}), Error);
  EXPECT_THROW(make_windows(1, {.context = 16, .stride = 16}), Error);
}

TEST(Windows, StepsCoverEveryWindow) {
  struct Case {
    size_t num_ids;
    WindowRule rule;
    size_t step;
  };
  for (const Case& c : {Case{1000, {.context = 64}, 256}, Case{1000, {.context = 64}, 64}, Case{1000, {.context = 64}, 21},
                        Case{1000, {.context = 64, .stride = 64}, 31}, Case{103, {.context = 34, .stride = 17}, 33}}) {
    EvalText text;
    text.ids.resize(c.num_ids);
    text.windows = make_windows(c.num_ids, c.rule);
    std::vector<size_t> done(text.windows.size());
    std::vector<size_t> targets;
    for (const WindowStep& step : cut_steps(text, c.step)) {
      size_t tokens = 0, rows = 0;
      for (size_t i = 0; i < step.parts.size(); ++i) {
        const WindowStep::Part& part = step.parts[i];
        EXPECT_EQ(part.begin, done[part.window]);
        EXPECT_TRUE(part.end - part.begin > 1 || i == 0);  // a batch begins with its sequences of one token
        done[part.window] = part.end;
        tokens += part.end - part.begin;
        rows += part.num_logits;
      }
      EXPECT_LE(tokens, c.step);
      EXPECT_EQ(rows, step.rows.size());
      for (const WindowStep::Row& row : step.rows) targets.push_back(row.target);
    }
    std::vector<size_t> wanted;
    for (size_t i = 0; i < done.size(); ++i) {
      EXPECT_EQ(done[i] + 1, text.windows[i].end - text.windows[i].begin);
      for (size_t t = text.windows[i].first_target; t < text.windows[i].end; ++t) wanted.push_back(t);
    }
    EXPECT_EQ(targets, wanted);
  }
}

}  // namespace
}  // namespace quern
