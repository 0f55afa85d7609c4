// Counters and histograms of a server, and their text for Prometheus (format 0.0.4). Event loop's thread only.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/engine.h"
#include "engine/session.h"

namespace quern {

class Histogram {
 public:
  explicit Histogram(std::span<const double> bounds) : bounds_(bounds.begin(), bounds.end()), counts_(bounds.size() + 1) {}
  void observe(double value);
  // Lines name_bucket, name_sum and name_count. `label`: {model_name="x"} without the braces.
  void write(std::string& out, const std::string& name, const std::string& label, const char* help) const;
  uint64_t count() const { return count_; }

 private:
  std::vector<double> bounds_;
  std::vector<uint64_t> counts_;
  uint64_t count_ = 0;
  double sum_ = 0;
};

struct ServerMetrics {
  ServerMetrics();

  // A run of a request has ended; `times` are those of its tokens that were not told before.
  void record_finish(const Finish& finish);
  std::string text(const EngineStats& stats, const EngineOptions& options, const std::string& prefix, const std::string& model_name) const;

  // Requests that asked for tokens: accepted = completed + cancelled + failed + running. Those that were turned away are not accepted.
  uint64_t accepted = 0, completed = 0, cancelled = 0, failed = 0, running = 0;
  uint64_t refused = 0, queue_full = 0, http_requests = 0;
  std::array<uint64_t, 4> finished = {};  // runs by FinishReason
  Histogram time_to_first_token, inter_token_latency, time_per_output_token, e2e_latency, queue_time, prefill_time, decode_time,
      inference_time, prompt_tokens, generation_tokens, params_n, params_max_tokens;
};

// Gauges of what an engine file's quality receipt says; empty when nothing was measured.
std::string quality_metrics(const Json& receipt, const std::string& prefix, const std::string& model_name);

}  // namespace quern
