// The work of one step, flattened: decode rows first, then prompt chunks. Filled by the engine from a plan, uploaded in one copy.
#pragma once
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "backend/ops/ops.h"

namespace quern {

struct ForwardBatch {
  // One entry a sequence, in this order.
  struct Sequence {
    std::span<const int32_t> token_ids;  // tokens of this step
    int32_t first_position;              // position of the first of them
    std::span<const uint32_t> blocks;    // its KV blocks, covering first_position + token_ids.size() tokens
    int32_t rope_variant = 0;            // Transformer::rope_variant() of its prompt
    bool wants_logits = false;           // of its last token
    int32_t logit_tokens = 1;            // with wants_logits: of its last so many tokens
  };
  std::vector<Sequence> sequences;  // those with one token first

  // Sampling of the rows that want logits, in order. Empty: nothing is sampled (logits only).
  std::vector<SampleRow> sample_rows;
  std::vector<TokenCount> counts;
  std::vector<TokenBias> biases;
  std::vector<uint32_t> allowed;
};

struct SampledRow {
  int32_t token_id;  // -1: a logit was not finite
  float logprob;
  std::vector<std::pair<int32_t, float>> top;  // likeliest first, as many as asked for
};

}  // namespace quern
