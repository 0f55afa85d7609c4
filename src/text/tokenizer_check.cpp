#include "text/tokenizer_check.h"

#include <unordered_set>

#include "base/error.h"
#include "base/utf8.h"

namespace quern {
namespace {

using Kind = TokenizerData::Kind;

void check_byte_tokens(const TokenizerData& data, std::string_view where) {
  // SmolLM's vocabulary lacks 21 bytes, its reference drops them from the text; every other vocabulary has all.
  const bool may_lack_bytes = data.kind == Kind::byte_bpe && data.splitter == TokenizerData::Splitter::smollm;
  for (size_t byte = 0; byte < 256; ++byte) {
    const TokenId id = data.byte_tokens[byte];
    if (id < 0) {
      if (!may_lack_bytes) raise(invalid_input, "{}: want a token for each single byte, found none for byte 0x{:02x}", where, byte);
      continue;
    }
    if (static_cast<size_t>(id) >= data.tokens.size() || data.tokens[static_cast<size_t>(id)] != std::string(1, static_cast<char>(byte))) {
      raise(invalid_input, "{}: token of byte 0x{:02x}: want an id of that byte, found {}", where, byte, id);
    }
  }
}

void check_tokens(const TokenizerData& data, std::string_view where) {
  for (size_t id = 0; id < data.tokens.size(); ++id) {
    const std::string& token = data.tokens[id];
    if (token.size() > kMaxTokenBytes) {
      raise(invalid_input, "{}: token {}: want at most {} bytes, found {}", where, id, kMaxTokenBytes, token.size());
    }
    if (data.kind != Kind::char_bpe || token.empty() || utf8_first_invalid(token) == std::string_view::npos) continue;
    const bool is_byte_token = token.size() == 1 && data.byte_tokens[static_cast<unsigned char>(token[0])] == static_cast<TokenId>(id);
    if (!is_byte_token) raise(invalid_input, "{}: token {}: \"{}\" is not UTF-8", where, id, escaped(token, 60));
  }
}

void check_merges(const TokenizerData& data, std::string_view where) {
  std::vector<uint8_t> is_made(data.tokens.size());
  for (size_t i = 0; i < data.merges.size(); ++i) {
    const auto [left, right, result] = data.merges[i];
    const auto bytes_of = [&](TokenId id) -> std::string_view {
      if (id < 0 || static_cast<size_t>(id) >= data.tokens.size() || data.tokens[static_cast<size_t>(id)].empty()) {
        raise(invalid_input, "{}: merge {}: want ids of tokens below {}, found {}", where, i, data.tokens.size(), id);
      }
      return data.tokens[static_cast<size_t>(id)];
    };
    const std::string_view l = bytes_of(left), r = bytes_of(right), both = bytes_of(result);
    if (both.size() != l.size() + r.size() || !both.starts_with(l) || !both.ends_with(r)) {
      raise(invalid_input, "{}: merge {}: token {} is not token {} followed by token {}", where, i, result, left, right);
    }
    if (is_made[static_cast<size_t>(result)]++ != 0) raise(invalid_input, "{}: merge {}: token {} has a merge already", where, i, result);
  }
}

void check_specials(const TokenizerData& data, std::string_view where) {
  if (data.specials.size() > kMaxSpecials) {
    raise(invalid_input, "{}: want at most {} added tokens, found {}", where, kMaxSpecials, data.specials.size());
  }
  std::unordered_set<std::string_view> texts;
  TokenId last = -1;
  for (const TokenizerData::Special& special : data.specials) {
    const std::string shown = escaped(special.text, 60);
    if (special.text.empty()) raise(invalid_input, "{}: added token {}: its text is empty", where, special.id);
    if (special.text.size() > kMaxSpecialBytes) {
      raise(invalid_input, "{}: added token {}: want at most {} bytes of text, found {}", where, special.id, kMaxSpecialBytes,
            special.text.size());
    }
    if (utf8_first_invalid(special.text) != std::string_view::npos) {
      raise(invalid_input, "{}: added token {}: \"{}\" is not UTF-8", where, special.id, shown);
    }
    if (special.id < 0 || static_cast<size_t>(special.id) >= data.tokens.size()) {
      raise(invalid_input, "{}: added token \"{}\": want an id below {}, found {}", where, shown, data.tokens.size(), special.id);
    }
    if (special.id == last) raise(invalid_input, "{}: added token \"{}\": id {} is another added token's too", where, shown, special.id);
    if (special.id < last) raise(invalid_input, "{}: added tokens: want ascending ids, found {} after {}", where, special.id, last);
    last = special.id;
    const std::string& token = data.tokens[static_cast<size_t>(special.id)];
    if (!token.empty() && token != special.text) {
      raise(invalid_input, "{}: added token \"{}\": id {} is \"{}\" in the vocabulary", where, shown, special.id, escaped(token, 60));
    }
    if (!texts.insert(special.text).second) raise(invalid_input, "{}: added token \"{}\" has two ids, {} is one", where, shown, special.id);
  }
}

}  // namespace

void check_tokenizer_data(const TokenizerData& data, std::string_view where) {
  if (data.tokens.empty() || data.tokens.size() > kMaxTokens) {
    raise(invalid_input, "{}: want from 1 to {} tokens, found {}", where, kMaxTokens, data.tokens.size());
  }
  check_tokens(data, where);
  check_byte_tokens(data, where);
  check_merges(data, where);
  check_specials(data, where);
  if (data.bos && (*data.bos < 0 || static_cast<size_t>(*data.bos) >= data.tokens.size())) {
    raise(invalid_input, "{}: bos: want an id below {}, found {}", where, data.tokens.size(), *data.bos);
  }
}

}  // namespace quern
