#include "text/vocabulary.h"

#include "base/error.h"
#include "base/utf8.h"
#include "text/tokenizer_check.h"
#include "text/unicode.h"

namespace quern {
namespace {

using Kind = TokenizerData::Kind;

bool is_one_character(std::string_view bytes) { return !bytes.empty() && utf8_sequence_length(bytes) == bytes.size(); }

// Whether every space of every token stands in front of the token's first other character: then no merge reaches back over a space.
bool spaces_lead(const TokenizerData& data) {
  for (const std::string& token : data.tokens) {
    const size_t other = token.find_first_not_of(' ');
    if (other != std::string::npos && token.find(' ', other) != std::string::npos) return false;
  }
  return true;
}

}  // namespace

Vocabulary::Vocabulary(TokenizerData checked, std::string_view where)
    : data((check_tokenizer_data(checked, where), std::move(checked))),
      merges(data, data.merges.size()),
      pieces(data.whole_pieces ? data.tokens.size() : data.merges.size() + 256 + (data.kind == Kind::char_bpe ? data.tokens.size() : 0)),
      specials(data.specials, false),
      normalized_specials(data.specials, true),
      flags(data.tokens.size()) {
  fill_pieces(where);
  for (const TokenizerData::Merge& merge : data.merges) merges.add(merge);
  for (const TokenizerData::Special& special : data.specials) {
    flags[static_cast<size_t>(special.id)] = special.control ? kSpecial | kControl : kSpecial;
  }
  split_at_spaces = data.kind == Kind::char_bpe && spaces_lead(data);
}

// Only what merging can reach is found as a whole, so that taking a piece at once gives the merges' answer.
void Vocabulary::fill_pieces(std::string_view where) {
  const auto add = [&](TokenId id) {
    const std::string& bytes = data.tokens[static_cast<size_t>(id)];
    if (!pieces.add(bytes, id)) {
      raise(invalid_input, "{}: token {} (\"{}\") is in the vocabulary twice, also as {}", where, id, escaped(bytes, 60),
            pieces.find(bytes));
    }
  };
  std::vector<uint8_t> is_byte_token(data.tokens.size());
  for (const TokenId id : data.byte_tokens) {
    if (id < 0) continue;
    is_byte_token[static_cast<size_t>(id)] = 1;
    if (data.kind == Kind::byte_bpe) add(id);
  }
  if (data.whole_pieces || data.kind == Kind::char_bpe) {
    std::vector<uint8_t> is_made(data.tokens.size());
    for (const TokenizerData::Merge& merge : data.merges) is_made[static_cast<size_t>(merge.result)] = 1;
    for (size_t id = 0; id < data.tokens.size(); ++id) {
      if (data.tokens[id].empty() || is_byte_token[id] != 0) continue;
      if (data.whole_pieces || is_made[id] != 0 || is_one_character(data.tokens[id])) add(static_cast<TokenId>(id));
    }
  } else {
    for (const TokenizerData::Merge& merge : data.merges) add(merge.result);
  }
}

void Vocabulary::encode_piece(std::string_view piece, std::vector<TokenId>& out, std::vector<TokenId>& symbols,
                              MergeTable::Scratch& scratch) const {
  if (const TokenId id = pieces.find(piece); id >= 0) {
    out.push_back(id);
    return;
  }
  symbols.clear();
  if (data.kind == Kind::byte_bpe) {
    for (const char byte : piece) {
      if (const TokenId id = data.byte_tokens[static_cast<unsigned char>(byte)]; id >= 0) symbols.push_back(id);
    }
  } else {
    for (size_t at = 0; at < piece.size();) {
      const std::string_view character = piece.substr(at, character_at(piece, at).length);
      if (const TokenId id = pieces.find(character); id >= 0) {
        symbols.push_back(id);
      } else {
        for (const char byte : character) symbols.push_back(data.byte_tokens[static_cast<unsigned char>(byte)]);
      }
      at += character.size();
    }
  }
  merges.merge(symbols, scratch);
  out.insert(out.end(), symbols.begin(), symbols.end());
}

}  // namespace quern
