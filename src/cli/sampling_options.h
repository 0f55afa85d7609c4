// The options by which run and chat change how tokens are drawn, under the names of vLLM and of llama.cpp. What is not given stays as
// the model's own generation defaults say.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/sampling_params.h"

namespace quern {

struct SamplingOptions {
  std::optional<int64_t> max_tokens, top_k, seed, min_tokens;
  std::optional<double> temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::vector<std::string> stop;
  bool ignore_eos = false;
};

void add_sampling_options(CLI::App& app, SamplingOptions& options);

// `defaults` with what was given on the command line.
SamplingParams apply(const SamplingOptions& options, SamplingParams defaults);

}  // namespace quern
