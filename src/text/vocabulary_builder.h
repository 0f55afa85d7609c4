// Collects the tokens, added tokens and merges of one vocabulary file and makes TokenizerData of them. One reader's, on its thread.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "text/tokenizer.h"

namespace quern {

inline constexpr uint64_t kMaxVocabularyFileBytes = uint64_t{64} << 20;

// The whole file; invalid_input when it is missing or larger than 64 MiB.
std::string read_vocabulary_text(const std::string& path);
Json read_vocabulary_json(const std::string& path);

class VocabularyBuilder {
 public:
  // `where` opens messages: the file's path.
  VocabularyBuilder(TokenizerData::Kind kind, std::string where) : kind_(kind), where_(std::move(where)) {}

  // A token as the file writes it: in GPT-2's byte alphabet, or with U+2581 for spaces and <0xNN> for bytes.
  void add_token(std::string_view text, int64_t id);
  // An added token, maybe in the vocabulary already. `flags` is its JSON object in Hugging Face's form.
  void add_special(const JsonFields& flags, int64_t id);
  void add_special(std::string text, int64_t id, bool control, bool normalized = false);
  // A padding row.
  void add_empty(int64_t id);
  // A merge as "left right", or its two parts. `line` names it in messages.
  void add_merge(std::string_view text, size_t line);
  void add_merge(std::string_view left, std::string_view right, size_t line);
  bool has_special(std::string_view text) const;
  size_t num_ids() const { return texts_.size(); }

  // Checks that no id is missing and fills tokens, byte_tokens, specials and merges. `data` has the rest. The merges are those that were
  // added; of a char_bpe without any, those that follow from `by_priority`.
  TokenizerData finish(TokenizerData data, const std::vector<TokenId>& by_priority = {});

 private:
  size_t checked_id(std::string_view text, int64_t id) const;
  void grow(size_t id);

  TokenizerData::Kind kind_;
  std::string where_;
  std::vector<std::string> texts_;  // by id, as in the file
  std::vector<uint8_t> is_there_;   // by id
  std::unordered_map<std::string, TokenId> ids_;
  std::vector<TokenizerData::Special> specials_;
  std::unordered_map<std::string, TokenId> special_ids_;
  std::vector<TokenizerData::Merge> merges_;
};

// Adds the tokens of tokenizer_config.json's added_tokens_decoder that are not added yet.
void add_config_tokens(const Json& config, const std::string& where, VocabularyBuilder& builder);

}  // namespace quern
