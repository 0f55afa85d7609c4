// vocab.json with merges.txt (Qwen2 and later), and qwen.tiktoken (first generation).
#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "base/parse.h"
#include "text/merge_rules.h"
#include "text/tokenizer_check.h"
#include "text/vocabulary_builder.h"
#include "text/vocabulary_files.h"

namespace quern {
namespace {

// Calls use(line, number) for each line, numbers from 1; line ends are LF or CRLF.
template <class Use>
void for_each_line(std::string_view text, const Use& use) {
  size_t number = 1;
  for (size_t at = 0; at < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    if (line.ends_with('\r')) line.remove_suffix(1);
    use(line, number);
    at = end + 1;
  }
}

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<int8_t, 256> make_base64_values() {
  std::array<int8_t, 256> values{};
  for (int8_t& value : values) value = -1;
  for (size_t i = 0; i < kBase64.size(); ++i) values[static_cast<unsigned char>(kBase64[i])] = static_cast<int8_t>(i);
  return values;
}
constexpr std::array<int8_t, 256> kBase64Values = make_base64_values();

// Nothing when `text` is not whole, padded base64.
std::optional<std::string> base64_decoded(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string bytes;
  uint32_t word = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_padding = i >= text.size() - padding;
    const int value = is_padding ? 0 : kBase64Values[static_cast<unsigned char>(text[i])];
    if (value < 0) return std::nullopt;
    word = word << 6 | static_cast<uint32_t>(value);
    if (i % 4 != 3) continue;
    for (const unsigned shift : {16U, 8U, 0U}) bytes += static_cast<char>(word >> shift & 0xff);
    word = 0;
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

}  // namespace

TokenizerData read_vocab_and_merges(const std::string& vocab_path, const std::string& merges_path, const std::string& config_path) {
  TokenizerData data;
  data.origin = "vocab.json, merges.txt";
  data.splitter = TokenizerData::Splitter::qwen2;
  data.nfc = true;
  const std::string where = escaped(vocab_path);
  VocabularyBuilder builder(TokenizerData::Kind::byte_bpe, where);
  const Json vocabulary = read_vocabulary_json(vocab_path);
  if (!vocabulary.is_object()) raise(invalid_input, "{}: want an object of tokens", where);
  for (const auto& [text, id] : vocabulary.items()) {
    if (!id.is_number_integer()) raise(invalid_input, "{}: token \"{}\": want an id", where, escaped(text, 60));
    builder.add_token(text, id.is_number_unsigned() && id.get<uint64_t>() > INT64_MAX ? INT64_MAX : id.get<int64_t>());
  }
  for_each_line(read_vocabulary_text(merges_path), [&](std::string_view line, size_t number) {
    if (line.empty() || (number == 1 && line.starts_with("#version"))) return;
    builder.add_merge(line, number);
  });
  if (!config_path.empty()) {
    const Json config = read_vocabulary_json(config_path);
    const std::string config_where = escaped(config_path);
    const JsonFields fields(config, config_where);
    if (const auto name = fields.optional_text({"tokenizer_class"}); name && name->find("Qwen") == std::string::npos) {
      raise(incompatible, "{}: tokenizer_class \"{}\": its splitter is unknown without tokenizer.json", config_where, escaped(*name));
    }
    add_config_tokens(config, config_where, builder);
  }
  return builder.finish(std::move(data));
}

TokenizerData read_tiktoken(const std::string& path) {
  const std::string where = escaped(path);
  TokenizerData data;
  data.origin = "tiktoken";
  data.splitter = TokenizerData::Splitter::qwen2;
  data.nfc = true;
  data.whole_pieces = true;
  data.byte_tokens.fill(-1);
  std::vector<uint8_t> is_there;
  for_each_line(read_vocabulary_text(path), [&](std::string_view line, size_t number) {
    if (line.empty()) return;
    const size_t space = line.find(' ');
    const auto rank = space == line.npos ? std::nullopt : parse_number<int64_t>(line.substr(space + 1));
    auto bytes = base64_decoded(line.substr(0, std::min(space, line.size())));
    if (!rank || !bytes || bytes->empty()) {
      raise(invalid_input, "{}: line {}: want base64, a space and a rank, found \"{}\"", where, number, escaped(line, 60));
    }
    if (*rank < 0 || *rank >= static_cast<int64_t>(kMaxTokens)) {
      raise(invalid_input, "{}: line {}: token \"{}\": want a rank below {}, found {}", where, number, escaped(*bytes, 60), kMaxTokens,
            *rank);
    }
    if (bytes->size() > kMaxTokenBytes) {
      raise(invalid_input, "{}: line {}: want at most {} bytes, found {}", where, number, kMaxTokenBytes, bytes->size());
    }
    const auto id = static_cast<size_t>(*rank);
    if (id >= data.tokens.size()) {
      data.tokens.resize(id + 1);
      is_there.resize(id + 1);
    }
    if (is_there[id]++ != 0) raise(invalid_input, "{}: line {}: rank {} is there twice", where, number, id);
    if (bytes->size() == 1) data.byte_tokens[static_cast<unsigned char>((*bytes)[0])] = static_cast<TokenId>(id);
    data.tokens[id] = *std::move(bytes);
  });
  std::vector<TokenId> by_rank(data.tokens.size());
  for (size_t id = 0; id < by_rank.size(); ++id) {
    if (is_there[id] == 0) raise(invalid_input, "{}: want ranks without gaps, found no token of rank {}", where, id);
    by_rank[id] = static_cast<TokenId>(id);
  }
  data.merges = merges_of_order(data, by_rank);
  // First-generation Qwen, tokenization_qwen.py: three control tokens, then <|extra_0|> to <|extra_204|>, all special.
  const auto add_special = [&](std::string text) {
    data.specials.push_back({static_cast<TokenId>(data.tokens.size()), std::move(text), true});
    data.tokens.emplace_back();
  };
  for (const char* text : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) add_special(text);
  for (int i = 0; i < 205; ++i) add_special(fmt::format("<|extra_{}|>", i));
  return data;
}

}  // namespace quern
