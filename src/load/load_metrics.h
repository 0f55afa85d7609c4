// The figures of a run of requests, with the definitions of `vllm bench serve`: docs/server.md, "Load generator". Pure functions.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "load/request_record.h"

namespace quern {

struct Spread {
  double mean = 0, median = 0, deviation = 0;          // milliseconds; 0 when there are no values
  std::vector<std::pair<double, double>> percentiles;  // which, value
  std::vector<double> values;                          // milliseconds, sorted
};

// Limits in milliseconds that a request must keep to count as good.
struct GoodputLimits {
  std::optional<double> first_token, per_token, whole;
  bool has_any() const { return first_token || per_token || whole; }
};

struct LoadMetrics {
  size_t completed = 0, failed = 0, good = 0;
  size_t prompt_tokens = 0, output_tokens = 0;
  double duration = 0;                                                      // seconds
  double request_rate = 0, good_rate = 0, output_rate = 0, total_rate = 0;  // a second
  size_t peak_output_rate = 0, peak_running = 0;                            // in the busiest second
  Spread first_token;                                                       // TTFT: from sending to the first piece of the answer
  Spread per_token;  // TPOT: the rest of the time over the rest of the tokens, one value a request with two or more
  Spread gap;        // ITL: between two pieces, one value a pair
  Spread whole;      // E2EL: from sending to the last piece
};

// `percentiles` from 0 to 100. A percentile between two values lies on the line between them.
Spread spread_of(std::vector<double> milliseconds, std::span<const double> percentiles);
LoadMetrics load_metrics(std::span<const RequestRecord> records, double duration, std::span<const double> percentiles,
                         const GoodputLimits& limits);

}  // namespace quern
