#include "load/load_report.h"

#include <algorithm>
#include <cmath>

namespace quern {
namespace {

constexpr int kWidth = 50;

struct Row {
  const char* name;  // in options and JSON
  const char* title;
  const char* label;
  Spread LoadMetrics::*spread;
};
constexpr Row kRows[] = {
    {"ttft", "Time to First Token", "TTFT", &LoadMetrics::first_token},
    {"tpot", "Time per Output Token (excl. 1st token)", "TPOT", &LoadMetrics::per_token},
    {"itl", "Inter-token Latency", "ITL", &LoadMetrics::gap},
    {"e2el", "End-to-end Latency", "E2EL", &LoadMetrics::whole},
};

void line(std::string& out, const std::string& label, const std::string& value) { out += fmt::format("{:<40} {:<10}\n", label, value); }
std::string two(double value) { return fmt::format("{:.2f}", value); }

// "99" of 99, "99.9" of 99.9.
std::string percent_name(double which) { return which == std::floor(which) ? fmt::format("{:.0f}", which) : fmt::format("{}", which); }

}  // namespace

std::string load_report_lines(const LoadMetrics& metrics, const ReportSubject& subject) {
  const LoadOptions& options = *subject.options;
  std::string out = fmt::format("{:=^{}}\n", " Serving Benchmark Result ", kWidth);
  line(out, "Successful requests:", fmt::format("{}", metrics.completed));
  line(out, "Failed requests:", fmt::format("{}", metrics.failed));
  if (options.max_concurrency != 0) line(out, "Maximum request concurrency:", fmt::format("{}", options.max_concurrency));
  if (std::isfinite(options.rate)) line(out, "Request rate configured (RPS):", two(options.rate));
  line(out, "Benchmark duration (s):", two(metrics.duration));
  line(out, "Total input tokens:", fmt::format("{}", metrics.prompt_tokens));
  line(out, "Total generated tokens:", fmt::format("{}", metrics.output_tokens));
  line(out, "Request throughput (req/s):", two(metrics.request_rate));
  if (subject.has_goodput) line(out, "Request goodput (req/s):", two(metrics.good_rate));
  line(out, "Output token throughput (tok/s):", two(metrics.output_rate));
  line(out, "Peak output token throughput (tok/s):", two(static_cast<double>(metrics.peak_output_rate)));
  line(out, "Peak concurrent requests:", fmt::format("{}", metrics.peak_running));
  line(out, "Total token throughput (tok/s):", two(metrics.total_rate));
  for (const Row& row : kRows) {
    if (std::ranges::find(subject.shown, row.name) == subject.shown.end()) continue;
    const Spread& spread = metrics.*row.spread;
    out += fmt::format("{:-^{}}\n", row.title, kWidth);
    line(out, fmt::format("Mean {} (ms):", row.label), two(spread.mean));
    line(out, fmt::format("Std {} (ms):", row.label), two(spread.deviation));
    line(out, fmt::format("Median {} (ms):", row.label), two(spread.median));
    for (const auto& [which, value] : spread.percentiles)
      line(out, fmt::format("P{} {} (ms):", percent_name(which), row.label), two(value));
  }
  return out + std::string(kWidth, '=') + "\n";
}

OrderedJson load_report_json(const LoadMetrics& metrics, const ReportSubject& subject) {
  const LoadOptions& options = *subject.options;
  OrderedJson json = {{"backend", options.is_chat ? "openai-chat" : "openai"},
                      {"base_url", subject.base_url},
                      {"endpoint", options.path},
                      {"model_id", options.model},
                      {"dataset_name", subject.dataset},
                      {"num_prompts", metrics.completed + metrics.failed},
                      {"burstiness", options.burstiness}};
  json["request_rate"] = std::isfinite(options.rate) ? OrderedJson(options.rate) : OrderedJson("inf");
  json["max_concurrency"] = options.max_concurrency == 0 ? OrderedJson(nullptr) : OrderedJson(options.max_concurrency);
  json["duration"] = metrics.duration;
  json["completed"] = metrics.completed;
  json["failed"] = metrics.failed;
  json["total_input_tokens"] = metrics.prompt_tokens;
  json["total_output_tokens"] = metrics.output_tokens;
  json["request_throughput"] = metrics.request_rate;
  json["request_goodput"] = subject.has_goodput ? OrderedJson(metrics.good_rate) : OrderedJson(nullptr);
  json["output_throughput"] = metrics.output_rate;
  json["total_token_throughput"] = metrics.total_rate;
  json["max_output_tokens_per_s"] = metrics.peak_output_rate;
  json["max_concurrent_requests"] = metrics.peak_running;
  for (const Row& row : kRows) {
    const Spread& spread = metrics.*row.spread;
    const char* name = row.name;
    json[fmt::format("mean_{}_ms", name)] = spread.mean;
    json[fmt::format("median_{}_ms", name)] = spread.median;
    json[fmt::format("std_{}_ms", name)] = spread.deviation;
    for (const auto& [which, value] : spread.percentiles) json[fmt::format("p{}_{}_ms", percent_name(which), name)] = value;
  }
  return json;
}

void append_details(OrderedJson& report, const std::vector<RequestRecord>& records) {
  OrderedJson inputs = OrderedJson::array(), outputs = OrderedJson::array(), firsts = OrderedJson::array(), gaps = OrderedJson::array(),
              errors = OrderedJson::array();
  for (const RequestRecord& record : records) {
    inputs.push_back(record.prompt_tokens);
    outputs.push_back(record.is_ok ? record.output_tokens : 0);
    firsts.push_back(record.first() - record.start);
    OrderedJson each = OrderedJson::array();
    for (size_t i = 1; i < record.token_times.size(); ++i) each.push_back(record.token_times[i] - record.token_times[i - 1]);
    gaps.push_back(std::move(each));
    errors.push_back(record.error);
  }
  report["input_lens"] = std::move(inputs);
  report["output_lens"] = std::move(outputs);
  report["ttfts"] = std::move(firsts);
  report["itls"] = std::move(gaps);
  report["errors"] = std::move(errors);
}

}  // namespace quern
