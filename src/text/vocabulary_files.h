// Readers of vocabulary files: each turns one kind of file into TokenizerData. Stateless.
// All throw invalid_input for broken files (naming file, token, id, merge line) and incompatible for what is not implemented here
// (pre-tokenizer patterns, normalizers, models other than BPE), which is never ignored.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace quern {

// Hugging Face's tokenizer.json; `config_path` is tokenizer_config.json or "" (adds the tokens that only it names).
TokenizerData read_tokenizer_json(const std::string& path, const std::string& config_path);

// GPT-2 style vocab.json and merges.txt; the added tokens are tokenizer_config.json's. The splitter is Qwen2's.
TokenizerData read_vocab_and_merges(const std::string& vocab_path, const std::string& merges_path, const std::string& config_path);

// Lines "base64(bytes) rank"; adds the special tokens of first-generation Qwen.
TokenizerData read_tiktoken(const std::string& path);

// The tokenizer keys of a GGUF file.
struct GgufVocabulary {
  std::string_view architecture;  // general.architecture: names the splitter of old files without `pre`
  std::string_view model, pre;    // tokenizer.ggml.model ("gpt2", "llama"), .pre; "" when absent
  std::span<const std::string_view> tokens;
  std::span<const int32_t> token_types;      // empty when absent
  std::span<const float> scores;             // empty when absent
  std::span<const std::string_view> merges;  // empty when absent
  std::optional<uint64_t> bos_id;
  std::optional<bool> add_bos, add_space_prefix;
};
// `where` opens messages: the file's path.
TokenizerData tokenizer_data_from_gguf(const GgufVocabulary& vocabulary, std::string_view where);

}  // namespace quern
