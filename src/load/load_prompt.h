// What is asked: prompts with the number of tokens that each and its answer have.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace quern {

struct LoadPrompt {
  std::string text;
  size_t prompt_tokens = 0;  // as far as known; the server's own count goes before it
  size_t output_tokens = 0;  // max_tokens of the request
};

// The number of tokens of a text. Without one, a word of the random prompts counts as one token, which it is for most vocabularies.
using TokenCounter = std::function<size_t(const std::string& text)>;

struct RandomPrompts {
  size_t count = 1000, input_tokens = 1024, output_tokens = 128, prefix_tokens = 0;
  double range_ratio = 0;  // lengths from (1 - ratio) to (1 + ratio) of the above, evenly
  uint64_t seed = 0;
};
// Words in random order behind a prefix that all share.
std::vector<LoadPrompt> random_prompts(const RandomPrompts& options, const TokenCounter& count);

// At most `count` first turns of a ShareGPT file (a list of {"conversations": [{"value"}, {"value"}]}) in the order of `seed`; answers are
// as long as theirs unless `output_tokens` is given. Too short and too long ones are left out, as in vllm. Throws invalid_input.
std::vector<LoadPrompt> sharegpt_prompts(const std::string& path, size_t count, std::optional<size_t> output_tokens, uint64_t seed,
                                         const TokenCounter& counter);

// One {"prompt": text, "output_tokens": N} a line (JSONL); `output_tokens` where a line has none. Fewer lines than `count` are taken again.
std::vector<LoadPrompt> custom_prompts(const std::string& path, size_t count, size_t output_tokens, const TokenCounter& counter);

}  // namespace quern
