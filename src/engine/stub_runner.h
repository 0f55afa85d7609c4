// A model without weights, for tests of everything around it: the token at a position is a hash of all tokens up to it and the row's
// seed, read through the KV blocks that the engine names. Every position of a block remembers what was written there, so that lost,
// mixed, stale or leaked contents end the step with an error instead of giving other tokens.
#pragma once
#include <atomic>
#include <vector>

#include "engine/model_runner.h"
#include "text/tokenizer.h"

namespace quern {

struct StubOptions {
  size_t num_tokens = 256, num_blocks = 64, block_tokens = 16;
  size_t max_logit_rows = 128;
  double step_seconds = 0;     // how long a step takes
  TokenId nan_token = -1;      // as the last token of a sequence: its logits are not finite
  TokenId failing_token = -1;  // anywhere in a step: the step throws
};

class StubRunner : public ModelRunner {
 public:
  explicit StubRunner(const StubOptions& options) : options_(options), slots_(options.num_blocks * options.block_tokens) {}

  size_t num_blocks() const override { return options_.num_blocks; }
  size_t block_tokens() const override { return options_.block_tokens; }
  size_t max_logit_rows() const override { return options_.max_logit_rows; }
  int32_t rope_variant(size_t prompt_tokens) const override { return prompt_tokens > 100 ? 1 : 0; }
  std::vector<SampledRow> forward(const ForwardBatch& batch) override;
  void clear_block(size_t block) override;

  // The first `count` tokens that follow `prompt`.
  std::vector<TokenId> expected(const std::vector<TokenId>& prompt, uint64_t seed, size_t count) const;
  // Of its tokens from the second on.
  std::vector<float> expected_prompt_logprobs(const std::vector<TokenId>& prompt) const;
  size_t computed_tokens() const { return computed_tokens_.load(); }

 private:
  struct Slot {
    int64_t position = -1;
    TokenId token = -1;
    uint64_t state = 0;
  };
  Slot& slot(const ForwardBatch::Sequence& sequence, size_t position);
  std::vector<uint64_t> run(const ForwardBatch::Sequence& sequence);
  TokenId token_of(uint64_t state, uint64_t seed) const;

  StubOptions options_;
  std::vector<Slot> slots_;
  std::atomic<size_t> computed_tokens_ = 0;
};

}  // namespace quern
