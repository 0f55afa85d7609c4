// Vocabularies for the tests of this room.
#pragma once
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace quern {

// The 151,643 tokens that all Qwen generations share, from tests/text/qwen_merges.bin, without added tokens.
TokenizerData qwen_vocabulary();

// Added tokens of a generation: "qwen1", "qwen2", "qwen2.5", "qwen3".
void add_generation(TokenizerData& data, const std::string& generation);

// 256 bytes (id = byte) and then one token for each of `merged`, which the tokens before it can make; splitter Qwen2.
TokenizerData small_vocabulary(const std::vector<std::string>& merged);

// Appends a special token at the next id; returns its id.
TokenId add_special(TokenizerData& data, const std::string& text, bool control = true);

// A file of tests/text/.
std::string test_path(const std::string& name);
// A file of ../shared/data/ beside the repository, "" when it is not there.
std::string shared_path(const std::string& name);

}  // namespace quern
