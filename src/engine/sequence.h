// One request inside the engine: its tokens, its blocks, its place in the queue.
// Owned by Engine; changed by Scheduler and Engine on the engine thread only.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/block_pool.h"
#include "engine/sampler.h"
#include "engine/sampling_params.h"

namespace quern {

struct Sequence {
  enum class State : uint8_t { waiting, running, finished };

  Sequence(uint64_t sequence_id, std::vector<TokenId> prompt, SamplingParams sampling, size_t max_output);

  uint64_t id;                  // also the order of arrival
  int64_t priority = 0;         // lower goes first; then the order of arrival
  std::vector<TokenId> tokens;  // prompt, then output
  size_t prompt_tokens;
  size_t max_output_tokens;  // params.max_tokens, or the rest of the context
  SamplingParams params;
  SamplerState sampler;
  PrefixScope scope;  // scope.rope_variant: by the original prompt's length, for life

  State state = State::waiting;
  std::vector<BlockId> blocks;      // cover at least computed_tokens
  size_t computed_tokens = 0;       // whose K and V are in the cache
  size_t published_blocks = 0;      // the first blocks that are findable by prefix
  size_t cached_prompt_tokens = 0;  // found in the prefix cache before the first preemption
  size_t num_preemptions = 0;
  size_t told_prompt_rows = 0;  // positions of the prompt whose logits were looked at, for params.prompt_logprobs

  size_t output_tokens() const { return tokens.size() - prompt_tokens; }
  // Tokens that a step may compute now: 1 while decoding, more for a prompt or after a preemption.
  size_t pending_tokens() const { return tokens.size() - computed_tokens; }
  // Logits of positions of the prompt are still wanted.
  bool wants_prompt_rows() const { return params.prompt_logprobs && told_prompt_rows < prompt_tokens; }
  // Most tokens that the cache will ever hold of it: the last output token is never computed.
  size_t max_cached_tokens() const { return prompt_tokens + max_output_tokens - 1; }
  bool before(const Sequence& other) const { return priority != other.priority ? priority < other.priority : id < other.id; }
};

}  // namespace quern
