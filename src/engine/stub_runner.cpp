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

}  // namespace

TokenId StubRunner::token_of(uint64_t state, uint64_t seed) const {
  return static_cast<TokenId>(hash_bytes(&state, sizeof(state), seed) % options_.num_tokens);
}

StubRunner::Slot& StubRunner::slot(const ForwardBatch::Sequence& sequence, size_t position) {
  const size_t block = sequence.blocks[position / options_.block_tokens];
  CHECK(block < options_.num_blocks, "block {} of {}", block, options_.num_blocks);
  return slots_[block * options_.block_tokens + position % options_.block_tokens];
}

// The state at the sequence's last token, every earlier one read from its block.
uint64_t StubRunner::run(const ForwardBatch::Sequence& sequence) {
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
  }
  computed_tokens_ += sequence.token_ids.size();
  return state;
}

std::vector<SampledRow> StubRunner::forward(const ForwardBatch& batch) {
  if (options_.step_seconds > 0) std::this_thread::sleep_for(std::chrono::duration<double>(options_.step_seconds));
  std::vector<SampledRow> rows;
  for (const ForwardBatch::Sequence& sequence : batch.sequences) {
    const uint64_t state = run(sequence);
    if (!sequence.wants_logits) continue;
    const SampleRow& row = batch.sample_rows.at(rows.size());
    CHECK(row.position == sequence.first_position + static_cast<int32_t>(sequence.token_ids.size()), "samples position {}", row.position);
    const bool is_finite = sequence.token_ids.back() != options_.nan_token;
    rows.push_back({is_finite ? token_of(state, row.seed) : -1, 0, {}});
  }
  CHECK(rows.size() == batch.sample_rows.size(), "{} rows for {}", rows.size(), batch.sample_rows.size());
  return rows;
}

void StubRunner::clear_block(size_t block) {
  for (size_t i = 0; i < options_.block_tokens; ++i) slots_[block * options_.block_tokens + i] = {};
}

std::vector<TokenId> StubRunner::expected(std::vector<TokenId> prompt, uint64_t seed, size_t count) const {
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

}  // namespace quern
