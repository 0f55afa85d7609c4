// Summaries of a small model: the prompt is the evaluation's, batches change nothing, full length is full length.
#include "eval/summarize.h"

#include <gtest/gtest.h>

#include "builder/build.h"
#include "models/test_models.h"
#include "source_dir.h"

namespace quern {
namespace {

TEST(Articles, PromptTextIsThePublishedOne) {
  EXPECT_EQ(summary_text({.id = "", .text = " \u00a0It does n't end . \n", .highlights = ""}), "It doesn't end . \n TL;DR:");
  EXPECT_EQ(summary_text({.id = "", .text = "", .highlights = ""}), "TL;DR:");
  EXPECT_EQ(summary_text({.id = "", .text = "a  n't  n't", .highlights = ""}), "a n't n't TL;DR:");
}

TEST(Articles, LinesAreReadInOrder) {
  const std::string lines = R"({"id":"x","article":"a","highlights":"h"})"
                            "\n\n"
                            R"({"article":"b","highlights":"i"})"
                            "\n";
  const std::vector<Article> articles = read_articles(lines, "f", 0);
  ASSERT_EQ(articles.size(), 2U);
  EXPECT_EQ(articles[1].id, "row 1");
  EXPECT_EQ(articles[1].text, "b");
  EXPECT_EQ(read_articles(lines, "f", 1).size(), 1U);
  for (const char* bad : {"", "{}", R"({"article":"b"})", R"({"article":1,"highlights":"i"})", "x"}) {
    EXPECT_THROW(read_articles(bad, "f", 0), Error) << bad;
  }
}

class SummarizeTest : public ::testing::Test {
 protected:
  SummarizeTest() {
    BuildOptions build;
    build.source = source_dir() + "/tests/models/stories260K-qwen2";
    build.output = folder_ / "stories.quern";
    build.dtype = "f32";
    build.num_threads = 1;
    build_engine(build);
    for (const char* text :
         {"Once upon a time there was a dog.", "Lily had a red ball. She lost it in the park and did n't cry.", "Tom sat."}) {
      articles_.push_back({.id = text, .text = text, .highlights = "Lily and Tom had a dog."});
    }
  }
  SummarizeResult run(SummarizeOptions options) {
    Backend backend({.num_threads = 1});
    Engine engine(EngineFile::open(folder_ / "stories.quern"), backend, {.max_num_seqs = options.batch, .max_model_len = 128});
    std::vector<Summary> summaries;
    for (size_t begin = 0; begin < articles_.size(); begin += options.batch) {
      const size_t count = std::min(options.batch, articles_.size() - begin);
      SummaryBatch batch = summarize_batch(engine, std::span(articles_).subspan(begin, count), options);
      summaries.insert(summaries.end(), batch.summaries.begin(), batch.summaries.end());
      EXPECT_GT(batch.seconds, 0);
    }
    return summarize_result(std::move(summaries), 1);
  }

  testing::TempFolder folder_;
  std::vector<Article> articles_;
};

TEST_F(SummarizeTest, BatchesChangeNothing) {
  const SummarizeResult one = run({.batch = 1, .max_input_tokens = 32, .max_new_tokens = 20, .force_length = true});
  const SummarizeResult all = run({.batch = 3, .max_input_tokens = 32, .max_new_tokens = 20, .force_length = true});
  ASSERT_EQ(one.summaries.size(), 3U);
  EXPECT_EQ(one.tokens, 60U);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(one.summaries[i].output_ids, all.summaries[i].output_ids);
    EXPECT_EQ(one.summaries[i].output_ids.size(), 20U);
    EXPECT_FALSE(one.summaries[i].text.empty());
    EXPECT_LE(one.summaries[i].input_tokens, 32U);
  }
  EXPECT_TRUE(one.summaries[1].was_cut);
  EXPECT_FALSE(one.summaries[2].was_cut);
  EXPECT_EQ(one.rouge[0].mean.f1, (one.summaries[0].rouge[0].f1 + one.summaries[1].rouge[0].f1 + one.summaries[2].rouge[0].f1) / 3);
}

}  // namespace
}  // namespace quern
