#include "engine/sampler.h"

#include <algorithm>
#include <limits>

namespace quern {
namespace {

constexpr float kBanned = -std::numeric_limits<float>::infinity();

}  // namespace

SamplerState::SamplerState(const SamplingParams& params, std::span<const TokenId> prompt, std::span<const TokenId> end_ids, uint64_t seed)
    : min_tokens_(static_cast<size_t>(params.min_tokens)) {
  row_.temperature = params.is_greedy() ? 0.F : static_cast<float>(params.temperature);
  row_.top_p = static_cast<float>(params.top_p);
  row_.min_p = static_cast<float>(params.min_p);
  row_.top_k = static_cast<int32_t>(std::clamp<int64_t>(params.top_k, 0, std::numeric_limits<int32_t>::max()));
  row_.repetition_penalty = static_cast<float>(params.repetition_penalty);
  row_.presence_penalty = static_cast<float>(params.presence_penalty);
  row_.frequency_penalty = static_cast<float>(params.frequency_penalty);
  row_.seed = seed;
  row_.num_logprobs = params.logprobs ? static_cast<int32_t>(*params.logprobs) : -1;
  for (const auto& [token, bias] : params.logit_bias) {
    biases_.push_back({token, bias <= kBanBias ? kBanned : static_cast<float>(bias)});
  }
  if (min_tokens_ > 0) {
    for (const TokenId token : end_ids) end_bans_.push_back({token, kBanned});
  }
  counts_tokens_ = params.repetition_penalty != 1 || params.presence_penalty != 0 || params.frequency_penalty != 0;
  if (params.repetition_penalty != 1) {  // the only one that looks at the prompt
    for (const TokenId token : prompt) {
      const auto [at, is_new] = count_index_.try_emplace(token, counts_.size());
      if (is_new) counts_.push_back({token, 0, 0});
      ++counts_[at->second].in_prompt;
    }
  }
}

void SamplerState::push(TokenId token) {
  if (!counts_tokens_) return;
  const auto [at, is_new] = count_index_.try_emplace(token, counts_.size());
  if (is_new) counts_.push_back({token, 0, 0});
  ++counts_[at->second].in_output;
}

void SamplerState::append_row(ForwardBatch& batch, size_t position, size_t output_tokens) const {
  SampleRow row = row_;
  row.position = static_cast<int32_t>(position);
  row.counts_begin = static_cast<int32_t>(batch.counts.size());
  batch.counts.insert(batch.counts.end(), counts_.begin(), counts_.end());
  row.counts_end = static_cast<int32_t>(batch.counts.size());
  row.biases_begin = static_cast<int32_t>(batch.biases.size());
  batch.biases.insert(batch.biases.end(), biases_.begin(), biases_.end());
  if (output_tokens < min_tokens_) batch.biases.insert(batch.biases.end(), end_bans_.begin(), end_bans_.end());
  row.biases_end = static_cast<int32_t>(batch.biases.size());
  batch.sample_rows.push_back(row);
}

}  // namespace quern
