// The text of /metrics that no running engine can bring about at will.
#include "server/metrics.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

TEST(Metrics, GaugesOfTheQualityReceipt) {
  const Json quality = {{"tokens", 2},     {"perplexity", 12.5},        {"source_perplexity", 12.25},      {"kl_mean", 0.015625},
                        {"kl_p99", 0.125}, {"top1_agreement", 0.96875}, {"source_choices", "0000ff00000a"}};
  const std::string text = quality_metrics({{"quality", quality}}, "vllm:", "a\"b");
  for (const char* line :
       {"\nvllm:engine_quality_perplexity{model_name=\"a\\\"b\"} 12.5\n",
        "\nvllm:engine_quality_source_perplexity{model_name=\"a\\\"b\"} 12.25\n",
        "\nvllm:engine_quality_kl_mean{model_name=\"a\\\"b\"} 0.015625\n", "\nvllm:engine_quality_kl_p99{model_name=\"a\\\"b\"} 0.125\n",
        "\nvllm:engine_quality_top1_agreement{model_name=\"a\\\"b\"} 0.96875\n", "# TYPE vllm:engine_quality_kl_mean gauge\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
  Json part = quality;
  part.erase("kl_p99");
  for (const Json& receipt : {Json(), Json::object(), Json{{"not_measured", "no source"}}, Json{{"quality", part}}, Json{{"quality", 5}}}) {
    EXPECT_EQ(quality_metrics(receipt, "quern:", "m"), "") << receipt;
  }
}

TEST(Metrics, NamesOfLlamaServer) {
  EngineStats stats;
  stats.output_tokens = 7, stats.running = 2, stats.waiting = 3;
  const std::string text = ServerMetrics().text(stats, {}, "llamacpp:", "m"), plain = ServerMetrics().text(stats, {}, "quern:", "m");
  for (const char* line : {"\nllamacpp:tokens_predicted_total{model_name=\"m\"} 7\n",
                           "\nllamacpp:requests_processing{model_name=\"m\"} 2\n", "\nllamacpp:requests_deferred{model_name=\"m\"} 3\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
  }
  EXPECT_EQ(plain.find("requests_deferred"), std::string::npos);
}

}  // namespace
}  // namespace quern
