#include "engine/sequence.h"

namespace quern {

Sequence::Sequence(uint64_t sequence_id, std::vector<TokenId> prompt, SamplingParams sampling, size_t max_output)
    : id(sequence_id), tokens(std::move(prompt)), prompt_tokens(tokens.size()), max_output_tokens(max_output), params(std::move(sampling)) {
  CHECK(prompt_tokens > 0 && max_output > 0, "sequence {}: prompt of {} tokens, {} to come", id, prompt_tokens, max_output);
}

}  // namespace quern
