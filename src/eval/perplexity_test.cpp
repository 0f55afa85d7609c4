// Perplexity and divergence of a small model are those that its logits, computed one sequence at a time, give.
#include "eval/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "eval/divergence.h"
#include "eval/log_softmax.h"
#include "models/test_models.h"
#include "source_dir.h"

namespace quern {
namespace {

using testing::build_engine;
using testing::Runner;
using testing::TempFolder;

class PerplexityTest : public ::testing::Test {
 protected:
  PerplexityTest() {
    for (int32_t i = 0; i < 150; ++i) ids_.push_back((i * i * 7 + i * 31) % 203);
  }
  std::shared_ptr<EngineFile> engine(const char* name, Format format) {
    return build_engine(source_dir() + "/tests/goldens/models/qwen2-gqa", folder_ / name,
                        {.format = [format](const std::string&) { return format; }});
  }
  EvalText text(const WindowRule& rule) const { return {.ids = ids_, .windows = make_windows(ids_.size(), rule), .bos = {}}; }
  // Logits of every token of a window.
  static std::vector<float> logits(const std::shared_ptr<EngineFile>& file, const EvalText& text, const TokenWindow& window) {
    Runner runner(file, {.max_batch_tokens = 16, .max_sequences = 2, .max_context = 64, .max_logit_rows = 16, .kv_format = Format::f32});
    return runner.logits(text.window_ids(window), window.end - window.begin, 16);
  }
  static double loss(std::span<const float> row, int32_t target) {
    double sum = 0;
    for (const float logit : row) sum += std::exp(static_cast<double>(logit));
    return std::log(sum) - static_cast<double>(row[static_cast<size_t>(target)]);
  }

  TempFolder folder_;
  std::vector<TokenId> ids_;
};

TEST_F(PerplexityTest, BothRulesGiveTheDefinition) {
  const std::shared_ptr<EngineFile> file = engine("f32.quern", Format::f32);
  Backend backend({.num_threads = 2});
  for (const WindowRule& rule : {WindowRule{.context = 32}, WindowRule{.context = 48, .stride = 20}}) {
    for (const size_t step_tokens : {size_t{11}, size_t{100}}) {
      const EvalText eval_text = text(rule);
      WindowRunner runner(file, backend, eval_text, {.step_tokens = step_tokens, .kv_format = Format::f32});
      size_t last_done = 0;
      const std::vector<WindowLoss> losses = measure_losses(runner, backend, eval_text, [&](std::span<const WindowLoss> done) {
        EXPECT_GE(done.size(), last_done);
        last_done = done.size();
      });
      EXPECT_EQ(last_done, eval_text.windows.size());
      double weighted = 0, weights = 0;
      for (const TokenWindow& window : eval_text.windows) {
        const std::vector<float> all = logits(file, eval_text, window);
        double sum = 0;
        for (size_t t = window.first_target; t < window.end; ++t) {
          sum += loss(std::span(all).subspan((t - window.begin - 1) * 203, 203), ids_[t]);
        }
        weighted += window.weight * sum / static_cast<double>(window.num_targets());
        weights += window.weight;
      }
      const Perplexity result = perplexity_of(eval_text.windows, losses);
      // The logits are the same bytes; exp of a float32 difference errs by 2^-23 of each term.
      EXPECT_NEAR(std::log(result.value), weighted / weights, 1e-6);
      EXPECT_GT(result.standard_error, 0);
    }
  }
}

TEST_F(PerplexityTest, DivergenceOfAnEngineFromItselfIsZero) {
  const std::shared_ptr<EngineFile> file = engine("f32.quern", Format::f32), coarse = engine("i8.quern", Format::i8);
  Backend backend({.num_threads = 2});
  const EvalText eval_text = text({.context = 32});
  WindowRunner a(file, backend, eval_text, {.kv_format = Format::f32}), b(file, backend, eval_text, {.kv_format = Format::f32}),
      c(coarse, backend, eval_text, {.kv_format = Format::f32});
  const Divergence same = summarize_divergence(measure_divergence(a, b, backend, eval_text), 3);
  EXPECT_EQ(same.kl_mean, 0);
  EXPECT_EQ(same.kl_max, 0);
  EXPECT_EQ(same.top1_agreement, 1);
  EXPECT_EQ(same.perplexity_ratio(), 1);
  EXPECT_EQ(same.worst.size(), 3U);

  const std::vector<TokenDivergence> tokens = measure_divergence(a, c, backend, eval_text);
  const Divergence other = summarize_divergence(tokens, 3);
  double kl = 0;
  size_t i = 0;
  for (const TokenWindow& window : eval_text.windows) {
    const std::vector<float> p = logits(file, eval_text, window), q = logits(coarse, eval_text, window);
    for (size_t t = window.first_target; t < window.end; ++t, ++i) {
      double own = 0;
      for (int32_t id = 0; id < 203; ++id) {
        const double lp = -loss(std::span(p).subspan((t - window.begin - 1) * 203, 203), id);
        const double lq = -loss(std::span(q).subspan((t - window.begin - 1) * 203, 203), id);
        own += std::exp(lp) * (lp - lq);
      }
      EXPECT_NEAR(tokens[i].kl, own, 1e-6 + 1e-6 * own);
      kl += own;
    }
  }
  EXPECT_EQ(i, tokens.size());
  EXPECT_NEAR(other.kl_mean, kl / static_cast<double>(i), 1e-6);
  EXPECT_GT(other.kl_mean, 0);
  EXPECT_GE(other.worst[0].kl, other.worst[1].kl);
  EXPECT_EQ(other.worst[0].kl, other.kl_max);
}

TEST(LogSoftmax, LargeLogitsDoNotOverflow) {
  const std::vector<float> p = {1e4F, 0, -1e4F}, q = {0, 1e4F, -1e4F};
  EXPECT_EQ(log_sum_exp(p), 1e4);
  const RowDivergence d = diverge(p, q, 2);
  EXPECT_NEAR(d.kl, 1e4, 1e-3);  // p is all on the first, where q has -10,000
  EXPECT_EQ(d.p_choice, 0U);
  EXPECT_EQ(d.q_choice, 1U);
  EXPECT_EQ(d.p_target, -2e4);
}

}  // namespace
}  // namespace quern
