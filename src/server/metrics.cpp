#include "server/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "builder/receipt.h"

namespace quern {
namespace {

constexpr double kFirstToken[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                  1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
constexpr double kBetweenTokens[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3,
                                     0.4,   0.5,    0.75,  1,    2.5,   5,    7.5,   10,  20,   40,  80};
constexpr double kWhole[] = {0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
constexpr double kTokens[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000};
constexpr double kChoices[] = {1, 2, 5, 10, 20};

std::string number(double value) {
  return value == std::floor(value) && value < 1e15 ? fmt::format("{:.0f}", value) : fmt::format("{}", value);
}

std::string label_value(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  }
  return out;
}

struct Writer {
  std::string& out;
  std::string prefix, label;
  void value(const char* type, const char* name, const char* help, double amount) {
    out += fmt::format("# HELP {0}{1} {2}\n# TYPE {0}{1} {3}\n{0}{1}{{{4}}} {5}\n", prefix, name, help, type, label, number(amount));
  }
  void gauge(const char* name, const char* help, double amount) { value("gauge", name, help, amount); }
  void counter(const char* name, const char* help, uint64_t amount) { value("counter", name, help, static_cast<double>(amount)); }
  void histogram(const char* name, const char* help, const Histogram& histogram) { histogram.write(out, prefix + name, label, help); }
};

}  // namespace

void Histogram::observe(double value) {
  const auto bucket = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
  ++counts_[static_cast<size_t>(bucket)];
  ++count_;
  sum_ += value;
}

void Histogram::write(std::string& out, const std::string& name, const std::string& label, const char* help) const {
  out += fmt::format("# HELP {0} {1}\n# TYPE {0} histogram\n", name, help);
  uint64_t sum = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    sum += counts_[i];
    const std::string bound = i < bounds_.size() ? number(bounds_[i]) : "+Inf";
    out += fmt::format("{}_bucket{{{},le=\"{}\"}} {}\n", name, label, bound, sum);
  }
  out += fmt::format("{0}_sum{{{1}}} {2}\n{0}_count{{{1}}} {3}\n", name, label, sum_, count_);
}

ServerMetrics::ServerMetrics()
    : time_to_first_token(kFirstToken),
      inter_token_latency(kBetweenTokens),
      time_per_output_token(kBetweenTokens),
      e2e_latency(kWhole),
      queue_time(kWhole),
      prefill_time(kWhole),
      decode_time(kWhole),
      inference_time(kWhole),
      prompt_tokens(kTokens),
      generation_tokens(kTokens),
      params_n(kChoices),
      params_max_tokens(kTokens) {}

void ServerMetrics::record_finish(const Finish& finish) {
  ++finished[static_cast<size_t>(finish.reason)];
  const Timing& t = finish.timing;
  e2e_latency.observe(t.finished - t.submitted);
  if (t.scheduled == 0) return;
  queue_time.observe(t.scheduled - t.submitted);
  inference_time.observe(t.finished - t.scheduled);
  prompt_tokens.observe(static_cast<double>(finish.usage.prompt_tokens));
  generation_tokens.observe(static_cast<double>(finish.usage.output_tokens));
  if (t.first_token == 0) return;
  time_to_first_token.observe(t.first_token - t.submitted);
  prefill_time.observe(t.first_token - t.scheduled);
  decode_time.observe(t.finished - t.first_token);
  if (finish.usage.output_tokens > 1) {
    time_per_output_token.observe((t.finished - t.first_token) / static_cast<double>(finish.usage.output_tokens - 1));
  }
}

std::string ServerMetrics::text(const EngineStats& stats, const EngineOptions& options, const std::string& prefix,
                                const std::string& model_name) const {
  std::string out;
  Writer write{out, prefix, fmt::format("model_name=\"{}\"", label_value(model_name))};
  const double blocks = static_cast<double>(std::max<size_t>(stats.kv_blocks, 1));
  write.gauge("num_requests_running", "Sequences that hold KV blocks.", static_cast<double>(stats.running));
  write.gauge("num_requests_waiting", "Sequences in the queue.", static_cast<double>(stats.waiting));
  write.gauge("kv_cache_usage_perc", "Share of the KV blocks that are held, 0 to 1.", static_cast<double>(stats.kv_blocks_used) / blocks);
  write.counter("prompt_tokens_total", "Prompt tokens of sequences that began to answer.", stats.prompt_tokens);
  write.counter("generation_tokens_total", "Tokens drawn.", stats.output_tokens);
  if (prefix == "llamacpp:") {  // what dashboards of llama-server look for besides
    write.counter("tokens_predicted_total", "Tokens drawn.", stats.output_tokens);
    write.gauge("requests_processing", "Sequences that hold KV blocks.", static_cast<double>(stats.running));
    write.gauge("requests_deferred", "Sequences in the queue.", static_cast<double>(stats.waiting));
  }
  write.counter("prefix_cache_queries_total", "Prompt tokens that were looked for in the prefix cache.", stats.prefix_query_tokens);
  write.counter("prefix_cache_hits_total", "Prompt tokens that were found there.", stats.prefix_hit_tokens);
  write.counter("num_preemptions_total", "Sequences that gave their KV blocks back to be computed again.", stats.preemptions);
  write.counter("engine_steps_total", "Steps of the engine.", stats.steps);
  write.counter("engine_failed_steps_total", "Steps that ended in an error.", stats.failed_steps);
  out += fmt::format("# HELP {0}request_success_total Sequences that ended, by reason.\n# TYPE {0}request_success_total counter\n", prefix);
  static constexpr const char* kReasons[] = {"stop", "length", "abort", "error"};
  for (size_t i = 0; i < finished.size(); ++i) {
    out += fmt::format("{}request_success_total{{{},finished_reason=\"{}\"}} {}\n", prefix, write.label, kReasons[i], finished[i]);
  }
  write.counter("requests_accepted_total", "Requests for tokens that were taken.", accepted);
  write.counter("requests_completed_total", "Of these, answered in full.", completed);
  write.counter("requests_cancelled_total", "Of these, left by their clients.", cancelled);
  write.counter("requests_failed_total", "Of these, ended by an error, a time limit or the shutdown.", failed);
  write.gauge("requests_in_progress", "Of these, not ended yet.", static_cast<double>(running));
  write.counter("requests_refused_total", "Requests that got a 4xx or 5xx before they were taken.", refused);
  write.counter("requests_queue_full_total", "Of these, because the queue was full.", queue_full);
  write.counter("http_requests_total", "HTTP requests of any kind.", http_requests);
  write.histogram("time_to_first_token_seconds", "From the request to its first token.", time_to_first_token);
  write.histogram("inter_token_latency_seconds", "Between one token and the next.", inter_token_latency);
  write.histogram("request_time_per_output_token_seconds", "Mean time of a token after the first, by sequence.", time_per_output_token);
  write.histogram("e2e_request_latency_seconds", "From the request to its end.", e2e_latency);
  write.histogram("request_queue_time_seconds", "In the queue.", queue_time);
  write.histogram("request_prefill_time_seconds", "From the queue to the first token.", prefill_time);
  write.histogram("request_decode_time_seconds", "From the first token to the end.", decode_time);
  write.histogram("request_inference_time_seconds", "From the queue to the end.", inference_time);
  write.histogram("request_prompt_tokens", "Prompt tokens of a sequence.", prompt_tokens);
  write.histogram("request_generation_tokens", "Tokens drawn for a sequence.", generation_tokens);
  write.histogram("request_params_n", "n of a request.", params_n);
  write.histogram("request_params_max_tokens", "max_tokens of a request.", params_max_tokens);
  out += fmt::format("# HELP {0}cache_config_info The KV cache.\n# TYPE {0}cache_config_info gauge\n", prefix);
  out += fmt::format("{}cache_config_info{{{},block_size=\"{}\",num_blocks=\"{}\",enable_prefix_caching=\"{}\"}} 1\n", prefix, write.label,
                     options.block_tokens, stats.kv_blocks, options.enable_prefix_caching ? "True" : "False");
  return out;
}

std::string quality_metrics(const Json& receipt, const std::string& prefix, const std::string& model_name) {
  const std::optional<Quality> quality = measured_quality(receipt);
  if (!quality) return "";
  std::string out;
  Writer write{out, prefix, fmt::format("model_name=\"{}\"", label_value(model_name))};
  write.gauge("engine_quality_perplexity", "Of the engine on the text of its quality receipt, when it was built.", quality->perplexity);
  write.gauge("engine_quality_source_perplexity", "Of its source on the same text.", quality->source_perplexity);
  write.gauge("engine_quality_kl_mean", "KL of the engine from its source, mean over tokens, nats.", quality->kl_mean);
  write.gauge("engine_quality_kl_p99", "The same, 99th percentile.", quality->kl_p99);
  write.gauge("engine_quality_top1_agreement", "Share of tokens whose most likely id is the source's, 0 to 1.", quality->top1_agreement);
  return out;
}

}  // namespace quern
