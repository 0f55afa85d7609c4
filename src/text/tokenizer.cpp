#include "text/tokenizer.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/utf8.h"
#include "text/encoding.h"
#include "text/vocabulary.h"

namespace quern {
namespace {

// Bytes at the start of `text` that are ASCII, as far as whole words of 8 go.
size_t ascii_prefix(std::string_view text) {
  size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + at, 8);
    if ((word & 0x8080808080808080U) != 0) break;
  }
  return at;
}

bool is_well_formed(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    at += ascii_prefix(text.substr(at));
    for (const size_t end = std::min(text.size(), at + 64); at < end;) {
      if (static_cast<unsigned char>(text[at]) < 0x80) {
        ++at;
        continue;
      }
      const size_t length = utf8_sequence_length(text.substr(at));
      if (length == 0) return false;
      at += length;
    }
  }
  return true;
}

}  // namespace

struct Tokenizer::State {
  State(TokenizerData data, std::string_view where) : vocabulary(std::move(data), where) {}

  Vocabulary vocabulary;
};

Tokenizer::Tokenizer(TokenizerData data, std::string_view where) : state_(std::make_unique<State>(std::move(data), where)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, Specials specials, bool add_bos) const {
  if (is_well_formed(text)) return encode_text(state_->vocabulary, text, specials, {}, add_bos);
  return encode_text(state_->vocabulary, utf8_repaired(text), specials, {}, add_bos);
}

std::vector<TokenId> Tokenizer::encode_mixed(std::string_view text, std::span<const std::pair<size_t, size_t>> user_text) const {
  size_t last = 0;
  for (const auto& [begin, end] : user_text) {
    CHECK(last <= begin && begin <= end && end <= text.size(), "range [{}, {}) after {} of {} bytes", begin, end, last, text.size());
    last = end;
  }
  if (is_well_formed(text)) return encode_text(state_->vocabulary, text, Specials::all, user_text, false);
  // Repaired range by range, so that the ranges stay known.
  std::string repaired;
  std::vector<std::pair<size_t, size_t>> ranges;
  last = 0;
  for (const auto& [begin, end] : user_text) {
    repaired += utf8_repaired(text.substr(last, begin - last));
    const size_t start = repaired.size();
    repaired += utf8_repaired(text.substr(begin, end - begin));
    ranges.emplace_back(start, repaired.size());
    last = end;
  }
  repaired += utf8_repaired(text.substr(last));
  return encode_text(state_->vocabulary, repaired, Specials::all, ranges, false);
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_control) const {
  std::string text;
  bool strip_space = state_->vocabulary.data.prefix != TokenizerData::Prefix::none;
  for (const TokenId id : ids) {
    if (skip_control && is_control(id)) continue;
    std::string_view token = bytes(id);
    if (strip_space && token.starts_with(' ')) token.remove_prefix(1);
    strip_space = strip_space && bytes(id).empty();
    text += token;
  }
  return text;
}

size_t Tokenizer::num_tokens() const { return state_->vocabulary.data.tokens.size(); }

std::string_view Tokenizer::bytes(TokenId id) const {
  if (id < 0 || static_cast<size_t>(id) >= state_->vocabulary.data.tokens.size()) return {};
  if ((state_->vocabulary.flags[static_cast<size_t>(id)] & Vocabulary::kSpecial) == 0)
    return state_->vocabulary.data.tokens[static_cast<size_t>(id)];
  const std::vector<TokenizerData::Special>& specials = state_->vocabulary.data.specials;
  return std::lower_bound(specials.begin(), specials.end(), id, [](const TokenizerData::Special& s, TokenId want) { return s.id < want; })
      ->text;
}

std::optional<TokenId> Tokenizer::find_special(std::string_view text) const {
  for (const TokenizerData::Special& special : state_->vocabulary.data.specials) {
    if (special.text == text) return special.id;
  }
  return std::nullopt;
}

bool Tokenizer::is_special(TokenId id) const {
  return id >= 0 && static_cast<size_t>(id) < state_->vocabulary.flags.size() &&
         (state_->vocabulary.flags[static_cast<size_t>(id)] & Vocabulary::kSpecial) != 0;
}

bool Tokenizer::is_control(TokenId id) const {
  return id >= 0 && static_cast<size_t>(id) < state_->vocabulary.flags.size() &&
         (state_->vocabulary.flags[static_cast<size_t>(id)] & Vocabulary::kControl) != 0;
}

std::optional<TokenId> Tokenizer::bos() const { return state_->vocabulary.data.bos; }
const TokenizerData& Tokenizer::data() const { return state_->vocabulary.data; }

}  // namespace quern
