// Teacher-forced agreement: a model agrees with its own answers, and an altered reference is found out.
#include "eval/agreement.h"

#include <gtest/gtest.h>

#include <fstream>

#include "models/test_models.h"
#include "source_dir.h"

namespace quern {
namespace {

using testing::build_engine;
using testing::Runner;
using testing::TempFolder;

constexpr size_t kVocab = 203;

class AgreementTest : public ::testing::Test {
 protected:
  static TransformerLimits limits() {
    return {
        .max_batch_tokens = 16, .max_sequences = 2, .max_context = 64, .max_logit_rows = 8, .block_tokens = 4, .kv_format = Format::f32};
  }
  // What a reference engine would have written: this model's own choices, token by token.
  ReferenceAnswer own_answer() {
    ReferenceAnswer answer{
        .id = "a", .prompt_ids = {5, 9, 100, 42, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}, .output_ids = {}, .top_two = {}};
    std::vector<int32_t> ids = answer.prompt_ids;
    for (int i = 0; i < 20; ++i) {
      const std::vector<float> logits = runner_.logits(ids, ids.size(), 8);
      const std::span row = std::span(logits).last(kVocab);
      double sum = 0;
      for (const float logit : row) sum += std::exp(static_cast<double>(logit));
      std::vector<int32_t> order(kVocab);
      std::iota(order.begin(), order.end(), 0);
      std::ranges::sort(order, [&](int32_t a, int32_t b) { return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)]; });
      const auto lp = [&](size_t place) { return row[static_cast<size_t>(order[place])] - std::log(sum); };
      answer.top_two.push_back({order[0], order[1], lp(0), lp(1)});
      answer.output_ids.push_back(order[0]);
      ids.push_back(order[0]);
    }
    return answer;
  }

  TempFolder folder_;
  Runner runner_{build_engine(source_dir() + "/tests/goldens/models/qwen2-gqa", folder_ / "m.quern"), limits()};
};

TEST_F(AgreementTest, OwnAnswersAgreeAndOthersAreCounted) {
  const ReferenceAnswer own = own_answer();
  Agreement agreement = measure_agreement(runner_.model(), runner_.cache(), std::span(&own, 1), kVocab);
  EXPECT_EQ(agreement.tokens, 20U);
  EXPECT_EQ(agreement.differences.size(), 0U);
  EXPECT_EQ(agreement.share(), 1);
  EXPECT_LT(agreement.largest_logprob_error, 1e-5);  // the same logits; only the sum of exponentials differs in the last bits of a float

  ReferenceAnswer other = own;  // a reference that chose its second token at the end, and one that chose something else
  std::swap(other.top_two[19].first, other.top_two[19].second);
  other.output_ids[19] = other.top_two[19].first;
  agreement = measure_agreement(runner_.model(), runner_.cache(), std::span(&other, 1), kVocab);
  ASSERT_EQ(agreement.differences.size(), 1U);
  EXPECT_EQ(agreement.differences[0].index, 19U);
  EXPECT_TRUE(agreement.differences[0].in_top_two);
  EXPECT_EQ(agreement.largest_margin(), own.top_two[19].first_logprob - own.top_two[19].second_logprob);
  EXPECT_DOUBLE_EQ(agreement.share(), 0.95);
  other.top_two[19].second = (own.top_two[19].first + 1) % static_cast<int32_t>(kVocab);
  agreement = measure_agreement(runner_.model(), runner_.cache(), std::span(&other, 1), kVocab);
  EXPECT_EQ(agreement.largest_margin(), std::numeric_limits<double>::infinity());
}

TEST_F(AgreementTest, ReferenceFiles) {
  const std::string path = folder_ / "reference.jsonl";
  std::ofstream(path) << R"({"id":"x","prompt_ids":[1,2],"output_ids":[3],"top2":[[3,-0.5,4,-1.5]]})"
                         "\n\n";
  const std::vector<ReferenceAnswer> answers = read_reference(path, kVocab);
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].prompt_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(answers[0].top_two[0].second, 4);
  for (const char* bad : {R"({"id":"x","prompt_ids":[],"output_ids":[3],"top2":[[3,-0.5,4,-1.5]]})",
                          R"({"id":"x","prompt_ids":[1],"output_ids":[3],"top2":[]})",
                          R"({"id":"x","prompt_ids":[1],"output_ids":[3],"top2":[[4,-0.5,3,-1.5]]})",
                          R"({"id":"x","prompt_ids":[203],"output_ids":[3],"top2":[[3,0,4,0]]})",
                          R"({"prompt_ids":[1],"output_ids":[3],"top2":[[3,0,4,0]]})", "{", ""}) {
    std::ofstream(path) << bad;
    EXPECT_THROW(read_reference(path, kVocab), Error) << bad;
  }
}

}  // namespace
}  // namespace quern
