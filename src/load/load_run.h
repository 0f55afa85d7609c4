// Sends the prompts at their times, never more than so many at once, and records what came back.
#pragma once
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "base/json.h"
#include "load/http_client.h"
#include "load/load_prompt.h"
#include "load/request_record.h"

namespace quern {

struct LoadOptions {
  std::string model, path = "/v1/completions";
  bool is_chat = false, ignores_eos = false;
  double rate = std::numeric_limits<double>::infinity(), burstiness = 1;
  size_t max_concurrency = 0;  // 0: no bound
  uint64_t seed = 0;
  OrderedJson extra_body = OrderedJson::object();  // fields of every request; they go before the others
};

struct LoadResult {
  std::vector<RequestRecord> records;  // one a prompt, in their order
  double duration = 0;                 // seconds from the start to the end of the last answer
  bool is_stopped = false;
};

std::string request_body(const LoadPrompt& prompt, const LoadOptions& options);

// `progress` is called ten times a second with the number of answers so far; false stops the run.
LoadResult run_load(HttpClient& client, const std::vector<LoadPrompt>& prompts, const LoadOptions& options,
                    const std::function<bool(size_t done)>& progress);

// The reply to a GET. Throws resource when it is not a 200.
std::string fetch_text(HttpClient& client, const std::string& path);

}  // namespace quern
