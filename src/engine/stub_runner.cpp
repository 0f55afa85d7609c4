#include "engine/stub_runner.h"

#include <chrono>
#include <thread>

#include "base/error.h"
#include "base/hash.h"

namespace quern {
namespace {

uint64_t state_after(uint64_t state, TokenId token, int32_t rope_variant) {
  const int32_t words[] = {token, rope_variant};
  return hash_bytes(words, sizeof(words), state);
}

float logprob_of(uint64_t state, TokenId token) { return -static_cast<float>(hash_bytes(&token, sizeof(token), state) % 1000) / 100; }

// The token that a row's mask leaves alone, or -1.
TokenId only_allowed(const ForwardBatch& batch, const SampleRow& row, size_t num_tokens) {
  if (row.allowed_row < 0) return -1;
  const size_t words = (num_tokens + 31) / 32;
  for (size_t id = 0; id < num_tokens; ++id) {
    if ((batch.allowed.at(static_cast<size_t>(row.allowed_row) * words + id / 32) >> (id % 32) & 1) != 0) return static_cast<TokenId>(id);
  }
  return -1;
}

}  // namespace

TokenId StubRunner::token_of(uint64_t state, uint64_t seed) const {
  return static_cast<TokenId>(hash_bytes(&state, sizeof(state), seed) % options_.num_tokens);
}

StubRunner::Slot& StubRunner::slot(const ForwardBatch::Sequence& sequence, size_t position) {
  const size_t block = sequence.blocks[position / options_.block_tokens];
  CHECK(block < options_.num_blocks, "block {} of {}", block, options_.num_blocks);
  return slots_[block * options_.block_tokens + position % options_.block_tokens];
}

// The states at the tokens of this step, every earlier one read from its block.
std::vector<uint64_t> StubRunner::run(const ForwardBatch::Sequence& sequence) {
  std::vector<uint64_t> states;
  uint64_t state = 0;
  const auto first = static_cast<size_t>(sequence.first_position);
  for (size_t position = 0; position < first; ++position) {
    const Slot& found = slot(sequence, position);
    state = state_after(state, found.token, sequence.rope_variant);
    CHECK(found.position == static_cast<int64_t>(position) && found.state == state, "position {} holds position {}'s contents", position,
          found.position);
  }
  for (size_t i = 0; i < sequence.token_ids.size(); ++i) {
    const TokenId token = sequence.token_ids[i];
    CHECK(token != options_.failing_token, "told to fail");
    state = state_after(state, token, sequence.rope_variant);
    slot(sequence, first + i) = {static_cast<int64_t>(first + i), token, state};
    states.push_back(state);
  }
  computed_tokens_ += sequence.token_ids.size();
  return states;
}

std::vector<SampledRow> StubRunner::forward(const ForwardBatch& batch) {
  if (options_.step_seconds > 0) std::this_thread::sleep_for(std::chrono::duration<double>(options_.step_seconds));
  CHECK(batch.sample_rows.size() <= options_.max_logit_rows, "{} rows of logits", batch.sample_rows.size());
  std::vector<SampledRow> rows;
  for (const ForwardBatch::Sequence& sequence : batch.sequences) {
    const std::vector<uint64_t> states = run(sequence);
    if (!sequence.wants_logits) continue;
    for (size_t i = states.size() - static_cast<size_t>(sequence.logit_tokens); i < states.size(); ++i) {
      const SampleRow& row = batch.sample_rows.at(rows.size());
      CHECK(row.position == sequence.first_position + static_cast<int32_t>(i) + 1, "samples position {}", row.position);
      const bool is_finite = sequence.token_ids[i] != options_.nan_token;
      const TokenId only = only_allowed(batch, row, options_.num_tokens);
      const TokenId token = only >= 0 ? only : token_of(states[i], row.seed);
      rows.push_back({is_finite ? token : -1, only >= 0 ? logprob_of(states[i], token) : 0, {}});
    }
  }
  CHECK(rows.size() == batch.sample_rows.size(), "{} rows for {}", rows.size(), batch.sample_rows.size());
  return rows;
}

void StubRunner::clear_block(size_t block) {
  for (size_t i = 0; i < options_.block_tokens; ++i) slots_[block * options_.block_tokens + i] = {};
}

std::vector<TokenId> StubRunner::expected(const std::vector<TokenId>& prompt, uint64_t seed, size_t count) const {
  const int32_t variant = rope_variant(prompt.size());
  uint64_t state = 0;
  for (const TokenId token : prompt) state = state_after(state, token, variant);
  std::vector<TokenId> output;
  while (output.size() < count) {
    output.push_back(token_of(state, seed));
    state = state_after(state, output.back(), variant);
  }
  return output;
}

std::vector<float> StubRunner::expected_prompt_logprobs(const std::vector<TokenId>& prompt) const {
  const int32_t variant = rope_variant(prompt.size());
  uint64_t state = 0;
  std::vector<float> logprobs;
  for (size_t i = 0; i + 1 < prompt.size(); ++i) {
    state = state_after(state, prompt[i], variant);
    logprobs.push_back(logprob_of(state, prompt[i + 1]));
  }
  return logprobs;
}

}  // namespace quern
