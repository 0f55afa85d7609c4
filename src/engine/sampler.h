// Turns SamplingParams and a sequence's history into the rows that the `sample` operation reads.
// SamplerState is part of a Sequence; engine thread only.
#pragma once
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/sampling_params.h"
#include "models/forward_batch.h"

namespace quern {

class SamplerState {
 public:
  // `end_ids`: tokens that end the answer; banned until params.min_tokens are out. `seed` is params.seed or its substitute.
  SamplerState() = default;
  SamplerState(const SamplingParams& params, std::span<const TokenId> prompt, std::span<const TokenId> end_ids, uint64_t seed);

  // Counts one token of the output.
  void push(TokenId token);
  // Appends the row that draws the token at `position`, `output_tokens` tokens of output being there, with its counts and biases.
  void append_row(ForwardBatch& batch, size_t position, size_t output_tokens) const;

 private:
  bool counts_tokens_ = false;
  SampleRow row_;
  size_t min_tokens_ = 0;
  std::vector<TokenBias> biases_;
  std::vector<TokenBias> end_bans_;  // until min_tokens
  std::vector<TokenCount> counts_;
  std::unordered_map<TokenId, size_t> count_index_;
};

}  // namespace quern
