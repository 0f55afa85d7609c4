// The vocabulary inside a GGUF file.
#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/log.h"
#include "base/utf8.h"
#include "text/splitter.h"
#include "text/tokenizer_check.h"
#include "text/vocabulary_builder.h"
#include "text/vocabulary_files.h"

namespace quern {
namespace {

using Kind = TokenizerData::Kind;
using Prefix = TokenizerData::Prefix;
using Splitter = TokenizerData::Splitter;

enum TokenType : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

Splitter read_splitter(const GgufVocabulary& v, std::string_view where) {
  if (v.pre.empty() || v.pre == "default") {  // files from before the key
    if (v.architecture.starts_with("qwen")) {
      log_warning("{}: tokenizer.ggml.pre is not there: taking Qwen's pattern by the architecture", where);
      return Splitter::qwen2;
    }
    raise(incompatible, "{}: tokenizer.ggml.pre is not there, and architecture \"{}\" does not name a splitter", where,
          escaped(v.architecture, 60));
  }
  if (const auto splitter = splitter_of_gguf(v.pre)) return *splitter;
  raise(incompatible, "{}: tokenizer.ggml.pre: \"{}\" is not implemented", where, escaped(v.pre, 60));
}

bool is_padding(std::string_view text, size_t id) { return text == fmt::format("[PAD{}]", id); }

void add_tokens(const GgufVocabulary& v, std::string_view where, VocabularyBuilder& builder) {
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const std::string_view text = v.tokens[id];
    const auto signed_id = static_cast<int64_t>(id);
    const int32_t type = v.token_types.empty() ? int32_t{kNormal} : v.token_types[id];
    if (const size_t bad = utf8_first_invalid(text); bad != text.npos) {
      raise(invalid_input, "{}: token {}: \"{}\" is not UTF-8", where, id, escaped(text, 60));
    }
    if (type == kUnused || is_padding(text, id)) {
      builder.add_empty(signed_id);
    } else if (type == kControl || type == kUnknown) {
      builder.add_special(std::string(text), signed_id, true);
    } else if (type == kUserDefined) {
      builder.add_special(std::string(text), signed_id, false);
    } else if (type == kNormal || type == kByte) {
      builder.add_token(text, signed_id);
    } else {
      raise(invalid_input, "{}: token {}: want a type from 1 to 6, found {}", where, id, type);
    }
  }
}

// Without token types: what no merge makes and is not a single byte was added.
void mark_unmade(TokenizerData& data) {
  std::vector<uint8_t> is_made(data.tokens.size());
  for (const TokenizerData::Merge& merge : data.merges) is_made[static_cast<size_t>(merge.result)] = 1;
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    std::string& token = data.tokens[id];
    if (token.size() < 2 || is_made[id] != 0) continue;
    if (utf8_first_invalid(token) != token.npos) continue;
    data.specials.push_back({static_cast<TokenId>(id), std::move(token), true});
    token.clear();
  }
}

}  // namespace

TokenizerData tokenizer_data_from_gguf(const GgufVocabulary& v, std::string_view where) {
  if (v.tokens.empty() || v.tokens.size() > kMaxTokens) {
    raise(invalid_input, "{}: tokenizer.ggml.tokens: want from 1 to {}, found {}", where, kMaxTokens, v.tokens.size());
  }
  const auto check_length = [&](const char* name, size_t size) {
    if (size == 0 || size == v.tokens.size()) return;
    raise(invalid_input, "{}: tokenizer.ggml.{}: want one a token, {}, found {}", where, name, v.tokens.size(), size);
  };
  check_length("token_type", v.token_types.size());
  check_length("scores", v.scores.size());
  TokenizerData data;
  data.origin = fmt::format("GGUF {} {}", escaped(v.model, 40), escaped(v.pre, 40));
  std::vector<TokenId> by_score;
  if (v.model == "gpt2") {
    data.kind = Kind::byte_bpe;
    data.splitter = read_splitter(v, where);
    data.nfc = data.splitter == Splitter::qwen2;  // the file has no key for it; Qwen normalises
    data.whole_pieces = data.splitter == Splitter::llama3;
  } else if (v.model == "llama") {
    data.kind = Kind::char_bpe;
    data.splitter = Splitter::none;
    data.prefix = v.add_space_prefix.value_or(true) ? Prefix::each : Prefix::none;
    if (v.scores.empty() || v.token_types.empty())
      raise(invalid_input, "{}: tokenizer.ggml.model llama: want scores and token types", where);
    for (size_t id = 0; id < v.tokens.size(); ++id) {
      if (v.token_types[id] != kNormal) continue;
      if (!(v.scores[id] == v.scores[id])) raise(invalid_input, "{}: tokenizer.ggml.scores: token {}: not a number", where, id);
      by_score.push_back(static_cast<TokenId>(id));
    }
    std::stable_sort(by_score.begin(), by_score.end(),
                     [&](TokenId a, TokenId b) { return v.scores[static_cast<size_t>(a)] > v.scores[static_cast<size_t>(b)]; });
  } else {
    raise(incompatible, "{}: tokenizer.ggml.model: want gpt2 or llama, found \"{}\"", where, escaped(v.model, 60));
  }
  VocabularyBuilder builder(data.kind, std::string(where));
  add_tokens(v, where, builder);
  for (size_t i = 0; i < v.merges.size() && data.kind == Kind::byte_bpe; ++i) builder.add_merge(v.merges[i], i);
  data = builder.finish(std::move(data), by_score);
  if (v.token_types.empty()) mark_unmade(data);
  const bool add_bos = v.add_bos.value_or(data.kind == Kind::char_bpe);
  if (add_bos && v.bos_id) {
    if (*v.bos_id >= v.tokens.size()) {
      raise(invalid_input, "{}: tokenizer.ggml.bos_token_id: want an id below {}, found {}", where, v.tokens.size(), *v.bos_id);
    }
    data.bos = static_cast<TokenId>(*v.bos_id);
  }
  return data;
}

}  // namespace quern
