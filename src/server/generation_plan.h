// A request that was read and found sound: prompts as token ids, how they are sampled, and what becomes of the results. Made on a worker.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/sampling_params.h"
#include "server/answer.h"
#include "text/token_masks.h"

namespace quern {

struct GenerationPlan {
  std::vector<std::vector<TokenId>> prompts;
  size_t runs_per_prompt = 1;         // run j of a prompt draws with seed + j
  SamplingParams params;              // max_tokens 0: nothing is generated
  std::shared_ptr<TokenMasks> masks;  // what the answers are held to; null: nothing
  int64_t priority = 0;
  std::string cache_salt;
  bool is_stream = false;
  std::string ignored_fields;  // for the header x-quern-ignored
  std::unique_ptr<Answer> answer;

  size_t num_runs() const { return prompts.size() * runs_per_prompt; }
  size_t prompt_tokens() const {
    size_t sum = 0;
    for (const auto& prompt : prompts) sum += prompt.size();
    return sum;
  }
};

}  // namespace quern
