// A report reads what the other parts print, compares tokens, and lets no text out of its cell.
#include "eval/report.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

Json summarize_json(std::vector<int32_t> ids, const std::string& id = "a") {
  return {{"rouge1", 30.5},
          {"rouge2", 10},
          {"rougeL", 20},
          {"rougeLsum", 21.25},
          {"intervals", {{"rouge1", {28, 33}}}},
          {"tokens", 100},
          {"seconds", 2},
          {"length", "free"},
          {"engine_bytes", 5e8},
          {"summaries", {{{"id", id}, {"output_ids", ids}, {"rouge1", 31}}, {{"id", "same"}, {"output_ids", {1, 2}}, {"rouge1", 3}}}}};
}

TEST(Report, TokensAreComparedArticleByArticle) {
  const ReportEntry base = read_report_entry("base", summarize_json({5, 6, 7, 8}), "base.json");
  const ReportEntry other = read_report_entry("other", summarize_json({5, 6, 9}), "other.json");
  const TokenAgreement agreement = token_agreement(*base.summarize, *other.summarize);
  EXPECT_EQ(agreement.articles, 2U);
  EXPECT_EQ(agreement.equal, 1U);
  EXPECT_EQ(agreement.mean_first_difference, 2);
  EXPECT_EQ(agreement.share_by_position, (std::vector<double>{1, 1, 0.5, 0.5}));
  const ReportEntry stranger = read_report_entry("stranger", summarize_json({1}, "b"), "stranger.json");
  EXPECT_EQ(token_agreement(*base.summarize, *stranger.summarize).articles, 1U);
}

TEST(Report, PagesHoldEveryRunAndNoMarkup) {
  const Json quality = {{"perplexity", 34.7}, {"tokens", 16320},        {"kl_mean", 0.0007},
                        {"kl_p99", 0.004},    {"top1_agreement", 0.98}, {"perplexity_ratio", 1.001}};
  const std::vector<ReportEntry> entries = {read_report_entry("<b>|x", summarize_json({5, 6}), "x.json"),
                                            read_report_entry(
                                                "forced",
                                                [] {
                                                  Json json = summarize_json({5, 6});
                                                  json["length"] = "forced";
                                                  return json;
                                                }(),
                                                "y.json"),
                                            read_report_entry("int8", quality, "z.json")};
  const std::string markdown = report_markdown(entries), html = report_html(entries);
  EXPECT_NE(markdown.find("| <b>\\|x | 30.50 | 28.0 to 33.0 | 10.00 | 20.00 | 21.25 | 100 | 2.00 | 20.00 | - | 500 | 2 of 2 | - |"),
            std::string::npos)
      << markdown;
  EXPECT_NE(markdown.find("| int8 | 34.7000 | +0.100 % | 0.000700 | 0.00400 | 98.00 % | 16320 |"), std::string::npos) << markdown;
  EXPECT_EQ(html.find("<b>"), std::string::npos);
  EXPECT_NE(html.find("&lt;b&gt;|x"), std::string::npos);
  EXPECT_EQ(html.find("nan"), std::string::npos);
  EXPECT_EQ(html.find("http"), std::string::npos);  // nothing from elsewhere
  size_t open = 0, closed = 0;
  for (size_t at = 0; (at = html.find("<svg ", at)) != std::string::npos; ++at) ++open;
  for (size_t at = 0; (at = html.find("</svg>", at)) != std::string::npos; ++at) ++closed;
  EXPECT_EQ(open, closed);
  EXPECT_EQ(open, 5U);  // two length rules with two plots each (one run has no other to compare with), and the divergence
}

TEST(Report, RefusesWhatIsNoResult) {
  for (const char* text : {"{}", R"({"rouge1":1})", R"({"perplexity":"x","tokens":1})",
                           R"({"rouge1":1,"rouge2":1,"rougeL":1,"rougeLsum":1,"tokens":1,"seconds":1,"summaries":3})",
                           R"({"rouge1":1,"rouge2":1,"rougeL":1,"rougeLsum":1,"tokens":1,"seconds":1,"intervals":{"rouge1":[1]}})",
                           R"({"rouge1":1,"rouge2":1,"rougeL":1,"rougeLsum":1,"tokens":1,"seconds":1,"summaries":[{"id":"a"}]})"}) {
    EXPECT_THROW(read_report_entry("x", parse_json(text, "x"), "x"), Error) << text;
  }
}

}  // namespace
}  // namespace quern
