// What a receipt says is what the engine does when it runs, and what both models' whole distributions give.
#include "eval/quality_check.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "builder/build.h"
#include "eval/divergence.h"
#include "models/test_models.h"
#include "source_dir.h"

namespace quern {
namespace {

using testing::TempFolder;

class QualityCheckTest : public ::testing::Test {
 protected:
  std::shared_ptr<EngineFile> build(const char* dtype) {
    const std::string path = folder_ / (std::string(dtype) + ".quern");
    build_engine({.source = source_, .output = path, .dtype = dtype, .num_threads = 1});
    return EngineFile::open(path);
  }

  TempFolder folder_;
  std::string source_ = source_dir() + "/tests/models/stories260K-qwen2";
};

TEST_F(QualityCheckTest, IsMeasuredAgain) {
  Backend backend({.num_threads = 1});
  for (const char* dtype : {"bf16", "int8"}) {
    const std::shared_ptr<EngineFile> file = build(dtype);
    const std::optional<Quality> saved = measured_quality(file->metadata().receipt);
    ASSERT_TRUE(saved) << dtype;
    const Quality again = measure_again(file, backend, *saved);
    // The receipt's figures are rounded to five and four digits; both ran the same kernels.
    EXPECT_NEAR(again.perplexity, saved->perplexity, 1e-4 * saved->perplexity) << dtype;
    EXPECT_NEAR(again.top1_agreement, saved->top1_agreement, 1e-4) << dtype;
    EXPECT_EQ(quality_difference(*saved, again, false), "");
    const Quality whole = measure_against_source(read_source_model(source_), *file, 1);
    EXPECT_NEAR(whole.kl_mean, saved->kl_mean, 0.006 * saved->kl_mean) << dtype;
    EXPECT_EQ(whole.source_choices, saved->source_choices);
    EXPECT_EQ(quality_difference(*saved, whole, true), "");
  }
}

TEST_F(QualityCheckTest, AgreesWithWholeDistributions) {
  const std::shared_ptr<EngineFile> file = build("int8"), reference = build("f32");
  const Tokenizer tokenizer = Tokenizer::unpack(file->tokenizer_bytes(), "");
  const QualityWindows windows = quality_windows(tokenizer, ModelConfig::from_json(file->metadata().model, ""));
  EvalText text{.ids = windows.sequences.ids, .windows = {}, .bos = {}};
  const size_t length = windows.sequences.length;
  for (size_t i = 0; i < windows.sequences.count; ++i) {
    text.windows.push_back({i * length, (i + 1) * length, i * length + windows.first_target, 1});
  }
  Backend backend({.num_threads = 1});
  WindowRunner wanted(reference, backend, text, {}), found(file, backend, text, {});
  const Divergence d = summarize_divergence(measure_divergence(wanted, found, backend, text), 0);
  const Quality saved = measured_quality(file->metadata().receipt).value();
  EXPECT_EQ(d.tokens, saved.tokens);
  EXPECT_NEAR(d.kl_mean, saved.kl_mean, 0.006 * d.kl_mean);  // three digits
  EXPECT_NEAR(d.kl_p99, saved.kl_p99, 0.006 * d.kl_p99);
  EXPECT_NEAR(d.perplexity, saved.perplexity, 1e-4 * d.perplexity);
  EXPECT_NEAR(d.reference_perplexity, saved.source_perplexity, 1e-4 * d.perplexity);
  EXPECT_NEAR(d.top1_agreement, saved.top1_agreement, 1e-4);
}

TEST_F(QualityCheckTest, DifferencesAreFound) {
  const Quality saved{.tokens = 100, .perplexity = 10, .source_perplexity = 9, .kl_mean = 0.02, .kl_p99 = 0.1, .top1_agreement = 0.9};
  EXPECT_EQ(quality_difference(saved, saved, true), "");
  Quality other = saved;
  other.perplexity = 10.06;
  EXPECT_NE(quality_difference(saved, other, false).find("perplexity: want 10, found 10.06"), std::string::npos);
  other = saved;
  other.top1_agreement = 0.88;
  EXPECT_NE(quality_difference(saved, other, false).find("first choice"), std::string::npos);
  other = saved;
  other.kl_mean = 0.03;
  EXPECT_EQ(quality_difference(saved, other, false), "");
  EXPECT_NE(quality_difference(saved, other, true).find("KL mean"), std::string::npos);
  other.perplexity = std::nan("");
  EXPECT_NE(quality_difference(saved, other, false), "");
}

}  // namespace
}  // namespace quern
