// The figures of a run against arithmetic done by hand, and the form that they are shown in.
#include "load/load_metrics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "load/arrivals.h"
#include "load/load_plot.h"
#include "load/load_report.h"

namespace quern {
namespace {

// Three answers and a failure. Times are multiples of 1/8 s, so that every sum is exact.
std::vector<RequestRecord> records() {
  return {
      {.is_ok = true, .prompt_tokens = 10, .output_tokens = 3, .start = 1, .token_times = {1.5, 1.75, 2}},  // gaps 250, 250
      {.is_ok = true, .prompt_tokens = 20, .output_tokens = 5, .start = 1, .token_times = {1.25, 2.25}},    // two pieces of five tokens
      {.is_ok = true, .prompt_tokens = 30, .output_tokens = 1, .start = 2.5, .token_times = {4.5}},         // one token: no time a token
      {.is_ok = false, .error = "x", .prompt_tokens = 99, .output_tokens = 99, .start = 0, .token_times = {9}},  // counts nowhere
  };
}

TEST(LoadMetrics, AreThoseOfVllm) {
  const double percents[] = {90, 99};
  const LoadMetrics metrics = load_metrics(records(), 4, percents, {});
  EXPECT_EQ(metrics.completed, 3U);
  EXPECT_EQ(metrics.failed, 1U);
  EXPECT_EQ(metrics.prompt_tokens, 60U);
  EXPECT_EQ(metrics.output_tokens, 9U);
  EXPECT_EQ(metrics.request_rate, 0.75);
  EXPECT_EQ(metrics.output_rate, 2.25);
  EXPECT_EQ(metrics.total_rate, 17.25);
  EXPECT_EQ(metrics.first_token.values, (std::vector<double>{250, 500, 2000}));
  EXPECT_EQ(metrics.whole.values, (std::vector<double>{1000, 1250, 2000}));
  EXPECT_EQ(metrics.per_token.values, (std::vector<double>{250, 250}));  // (1000 - 500) / 2, (1250 - 250) / 4
  EXPECT_EQ(metrics.gap.values, (std::vector<double>{250, 250, 1000}));
  EXPECT_NEAR(metrics.first_token.mean, 2750.0 / 3, 1e-9);
  EXPECT_EQ(metrics.first_token.median, 500);
  EXPECT_EQ(metrics.gap.mean, 500);
  EXPECT_NEAR(metrics.gap.deviation, std::sqrt((250.0 * 250 * 2 + 500 * 500) / 3), 1e-9);
  // numpy.percentile([250, 500, 2000], 90) = 500 + 0.8 * 1500
  EXPECT_NEAR(metrics.first_token.percentiles[0].second, 1700, 1e-9);
  EXPECT_NEAR(metrics.first_token.percentiles[1].second, 1970, 1e-9);
}

// Seconds from the first start, at 1: [1, 2) has 3 pieces of the first two requests, [2, 3) the end of both, [4, 5) the third's.
TEST(LoadMetrics, PeaksAreOfTheBusiestSecond) {
  const LoadMetrics metrics = load_metrics(records(), 4, {}, {});
  EXPECT_EQ(metrics.peak_output_rate, 3U);
  EXPECT_EQ(metrics.peak_running, 3U);  // in [2, 3): two end, one begins
}

TEST(LoadMetrics, GoodputCountsRequestsThatKeepEveryLimit) {
  const struct {
    GoodputLimits limits;
    size_t good;
  } cases[] = {
      {{}, 3},
      {{.first_token = 500}, 2},
      {{.first_token = 499}, 1},
      {{.per_token = 249}, 1},  // the answer of one token keeps it
      {{.per_token = 250}, 3},
      {{.whole = 1000}, 1},
      {{.first_token = 250, .whole = 1000}, 0},
  };
  for (const auto& each : cases) {
    const LoadMetrics metrics = load_metrics(records(), 4, {}, each.limits);
    EXPECT_EQ(metrics.good, each.good);
    EXPECT_EQ(metrics.good_rate, static_cast<double>(each.good) / 4);
  }
}

TEST(LoadMetrics, NothingIsNoDivision) {
  const double percents[] = {99};
  for (const std::vector<RequestRecord>& none : {std::vector<RequestRecord>{}, std::vector<RequestRecord>{{.error = "x"}}}) {
    const LoadMetrics metrics = load_metrics(none, 0, percents, {.first_token = 1});
    EXPECT_EQ(metrics.completed, 0U);
    EXPECT_EQ(metrics.request_rate, 0);
    EXPECT_EQ(metrics.whole.percentiles[0].second, 0);
    EXPECT_NE(load_plot(metrics, none, "<none>").find("&lt;none&gt;"), std::string::npos);
  }
}

TEST(LoadReport, HasVllmsLinesAndNames) {
  const double percents[] = {90, 99};
  LoadOptions options;
  options.model = "m";
  const ReportSubject subject{"http://x", "random", &options, {"ttft", "itl"}, true};
  const LoadMetrics metrics = load_metrics(records(), 4, percents, {.first_token = 500});
  const std::string lines = load_report_lines(metrics, subject);
  for (const char* line : {"Successful requests:                     3         \n", "Output token throughput (tok/s):         2.25      \n",
                           "Request goodput (req/s):                 0.50      \n", "Median TTFT (ms):                        500.00    \n",
                           "P99 ITL (ms):                            985.00    \n"}) {
    EXPECT_NE(lines.find(line), std::string::npos) << line << lines;
  }
  EXPECT_EQ(lines.find("TPOT"), std::string::npos);
  OrderedJson json = load_report_json(metrics, subject);
  EXPECT_EQ(json["request_rate"], "inf");
  EXPECT_EQ(json["output_throughput"], 2.25);
  EXPECT_EQ(json["median_ttft_ms"], 500);
  EXPECT_EQ(json["p90_e2el_ms"], 1850);
  append_details(json, records());
  EXPECT_EQ(json["itls"][0], OrderedJson({0.25, 0.25}));
  EXPECT_EQ(json["ttfts"][2], 2.0);
  EXPECT_EQ(json["output_lens"], OrderedJson({3, 5, 1, 0}));
}

TEST(LoadPlot, IsWellFormedForAnyRun) {
  std::vector<RequestRecord> many;
  for (int i = 0; i < 3000; ++i)
    many.push_back({.is_ok = true, .output_tokens = 2, .start = i * 0.01, .token_times = {i * 0.01 + 0.1, i * 0.01 + 0.2}});
  const double percents[] = {99};
  const std::string plot = load_plot(load_metrics(many, 31, percents, {}), many, "a & b");
  EXPECT_TRUE(plot.starts_with("<svg ") && plot.ends_with("</svg>\n"));
  EXPECT_EQ(plot.find("nan"), plot.npos);
  EXPECT_EQ(plot.find("inf"), plot.npos);
  EXPECT_LT(plot.size(), 60'000U);
}

TEST(ArrivalTimes, HaveTheRateAndTheShape) {
  EXPECT_EQ(arrival_times(3, INFINITY, 1, 1), (std::vector<double>{0, 0, 0}));
  EXPECT_EQ(arrival_times(0, 5, 1, 1).size(), 0U);
  constexpr size_t kCount = 20'001;
  for (const double burstiness : {0.25, 1.0, 16.0}) {
    const std::vector<double> times = arrival_times(kCount, 50, burstiness, 3);
    EXPECT_EQ(times, arrival_times(kCount, 50, burstiness, 3));
    EXPECT_EQ(times.front(), 0);
    EXPECT_NEAR(times.back(), (kCount - 1) / 50.0, 1e-6);
    double squares = 0;
    for (size_t i = 1; i < kCount; ++i) {
      ASSERT_GE(times[i], times[i - 1]);
      squares += std::pow((times[i] - times[i - 1]) * 50 - 1, 2);
    }
    // The variance of a gap over its squared mean is 1 / shape; of 20,000 gaps it is known to about sqrt((2 + 6 / shape) / 20,000), 4 % at
    // 0.25, and to 6 of those here.
    const double deviation = std::sqrt((2 + 6 / burstiness) / kCount);
    EXPECT_NEAR(squares / (kCount - 1) * burstiness, 1, 6 * deviation);
  }
}

}  // namespace
}  // namespace quern
