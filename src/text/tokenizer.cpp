#include "text/tokenizer.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/utf8.h"
#include "text/merge_table.h"
#include "text/piece_table.h"
#include "text/special_matcher.h"
#include "text/splitter.h"
#include "text/tokenizer_check.h"
#include "text/unicode.h"

namespace quern {
namespace {

using Kind = TokenizerData::Kind;
using Prefix = TokenizerData::Prefix;
using Special = TokenizerData::Special;
using Range = std::pair<size_t, size_t>;

constexpr uint8_t kSpecialFlag = 1, kControlFlag = 2;
constexpr std::string_view kLowerBlock = "\xe2\x96\x81";  // U+2581, SentencePiece's space

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

struct Tokenizer::State {
  State(TokenizerData d, std::string_view where)
      : data((check_tokenizer_data(d, where), std::move(d))),
        merges(data, data.merges.size()),
        pieces(data.whole_pieces ? data.tokens.size() : data.merges.size() + 256 + (data.kind == Kind::char_bpe ? data.tokens.size() : 0)),
        specials(data.specials, false),
        normalized_specials(data.specials, true),
        flags(data.tokens.size()) {
    fill_pieces(where);
    for (const TokenizerData::Merge& merge : data.merges) merges.add(merge);
    for (const Special& special : data.specials) {
      flags[static_cast<size_t>(special.id)] = special.control ? kSpecialFlag | kControlFlag : kSpecialFlag;
    }
    split_at_spaces = data.kind == Kind::char_bpe && spaces_lead(data);
  }

  // Only what merging can reach is found as a whole, so that taking a piece at once gives the merges' answer.
  void fill_pieces(std::string_view where) {
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

  void encode_piece(std::string_view piece, std::vector<TokenId>& out, std::vector<TokenId>& symbols, MergeTable::Scratch& scratch) const {
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

  TokenizerData data;
  MergeTable merges;
  PieceTable pieces;
  SpecialMatcher specials, normalized_specials;
  std::vector<uint8_t> flags;  // by id
  bool split_at_spaces = false;
};

namespace {

// One call of encode: the state of the walk over one text.
class Encoding {
 public:
  template <class State>
  static std::vector<TokenId> run(const State& state, std::string_view text, Tokenizer::Specials mode, std::span<const Range> user_text,
                                  bool add_bos) {
    Encoding encoding(mode, user_text);
    encoding.out_.reserve(text.size() / 4 + 8);
    if (add_bos && state.data.bos) encoding.out_.push_back(*state.data.bos);
    encoding.text(state, text);
    return std::move(encoding.out_);
  }

 private:
  Encoding(Tokenizer::Specials mode, std::span<const Range> user_text) : mode_(mode), user_text_(user_text) {}

  bool touches_user(size_t begin, size_t end) const {
    const auto range =
        std::upper_bound(user_text_.begin(), user_text_.end(), begin, [](size_t at, const Range& r) { return at < r.second; });
    return range != user_text_.end() && range->first < end;
  }
  bool accepts(const Special& special, size_t begin, size_t end) const {
    if (!special.control) return mode_ != Tokenizer::Specials::as_text;
    return mode_ == Tokenizer::Specials::all && !touches_user(begin, end);
  }

  template <class State>
  void text(const State& state, std::string_view text) {
    for (size_t at = 0; at < text.size();) {
      SpecialMatcher::Match match = {text.size(), text.size(), nullptr};
      if (mode_ != Tokenizer::Specials::as_text && !state.specials.empty()) {
        match = state.specials.find(text, at, [&](const Special& s, size_t begin, size_t end) { return accepts(s, begin, end); });
      }
      if (match.begin > at) stretch(state, text.substr(at, match.begin - at), at);
      if (match.special != nullptr) out_.push_back(match.special->id);
      at = match.end;
    }
  }

  // Text between special tokens that starts at `offset` of the whole.
  template <class State>
  void stretch(const State& state, std::string_view text, size_t offset) {
    std::string normal;
    if (state.data.nfc && !is_certainly_nfc(text)) {
      normal = nfc(text);
      if (normal != text) {
        plain_or_special(state, normal, offset, touches_user(offset, offset + text.size()));
        return;
      }
    }
    plain_or_special(state, text, offset, touches_user(offset, offset + text.size()));
  }

  template <class State>
  void plain_or_special(const State& state, std::string_view text, size_t offset, bool has_user_text) {
    if (state.normalized_specials.empty() || mode_ == Tokenizer::Specials::as_text) {
      plain(state, text, offset == 0);
      return;
    }
    const bool control = mode_ == Tokenizer::Specials::all && !has_user_text;
    for (size_t at = 0; at < text.size();) {
      const auto match = state.normalized_specials.find(text, at, [&](const Special& s, size_t, size_t) { return control || !s.control; });
      if (match.begin > at) plain(state, text.substr(at, match.begin - at), offset == 0 && at == 0);
      if (match.special != nullptr) out_.push_back(match.special->id);
      at = match.end;
    }
  }

  template <class State>
  void plain(const State& state, std::string_view text, bool is_first) {
    if (state.data.kind == Kind::char_bpe) {
      spaced(state, text, is_first);
      return;
    }
    PieceScanner scanner(state.data.splitter, text);
    for (std::string_view piece = scanner.next(); !piece.empty(); piece = scanner.next()) {
      state.encode_piece(piece, out_, symbols_, scratch_);
    }
  }

  // SentencePiece text: a space in front, U+2581 read as a space, pieces that start with their spaces.
  template <class State>
  void spaced(const State& state, std::string_view text, bool is_first) {
    std::string copy;
    const Prefix prefix = state.data.prefix;
    const bool starts_with_space = text.starts_with(' ') || text.starts_with(kLowerBlock);
    const bool add_space = prefix == Prefix::each || (prefix == Prefix::meta_each && !starts_with_space) ||
                           (prefix == Prefix::meta_first && is_first && !starts_with_space);
    if (add_space || text.find(kLowerBlock) != std::string_view::npos) {
      copy.reserve(text.size() + 1);
      if (add_space) copy += ' ';
      for (size_t at = 0; at < text.size();) {
        const size_t block = std::min(text.find(kLowerBlock, at), text.size());
        copy += text.substr(at, block - at);
        if (block < text.size()) copy += ' ';
        at = block + kLowerBlock.size();
      }
      text = copy;
    }
    if (!state.split_at_spaces) {
      state.encode_piece(text, out_, symbols_, scratch_);
      return;
    }
    for (size_t at = 0; at < text.size();) {
      const size_t word = std::min(text.find_first_not_of(' ', at), text.size());
      const size_t end = std::min(text.find(' ', word), text.size());
      state.encode_piece(text.substr(at, end - at), out_, symbols_, scratch_);
      at = end;
    }
  }

  Tokenizer::Specials mode_;
  std::span<const Range> user_text_;
  std::vector<TokenId> out_, symbols_;
  MergeTable::Scratch scratch_;
};

}  // namespace

Tokenizer::Tokenizer(TokenizerData data, std::string_view where) : state_(std::make_unique<State>(std::move(data), where)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, Specials specials, bool add_bos) const {
  if (is_well_formed(text)) return Encoding::run(*state_, text, specials, {}, add_bos);
  return Encoding::run(*state_, utf8_repaired(text), specials, {}, add_bos);
}

std::vector<TokenId> Tokenizer::encode_mixed(std::string_view text, std::span<const Range> user_text) const {
  size_t last = 0;
  for (const auto& [begin, end] : user_text) {
    CHECK(last <= begin && begin <= end && end <= text.size(), "range [{}, {}) after {} of {} bytes", begin, end, last, text.size());
    last = end;
  }
  if (is_well_formed(text)) return Encoding::run(*state_, text, Specials::all, user_text, false);
  // Repaired range by range, so that the ranges stay known.
  std::string repaired;
  std::vector<Range> ranges;
  last = 0;
  for (const auto& [begin, end] : user_text) {
    repaired += utf8_repaired(text.substr(last, begin - last));
    const size_t start = repaired.size();
    repaired += utf8_repaired(text.substr(begin, end - begin));
    ranges.emplace_back(start, repaired.size());
    last = end;
  }
  repaired += utf8_repaired(text.substr(last));
  return Encoding::run(*state_, repaired, Specials::all, ranges, false);
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_control) const {
  std::string text;
  bool strip_space = state_->data.prefix != Prefix::none;
  for (const TokenId id : ids) {
    if (skip_control && is_control(id)) continue;
    std::string_view token = bytes(id);
    if (strip_space && token.starts_with(' ')) token.remove_prefix(1);
    strip_space = strip_space && bytes(id).empty();
    text += token;
  }
  return text;
}

size_t Tokenizer::num_tokens() const { return state_->data.tokens.size(); }

std::string_view Tokenizer::bytes(TokenId id) const {
  if (id < 0 || static_cast<size_t>(id) >= state_->data.tokens.size()) return {};
  if ((state_->flags[static_cast<size_t>(id)] & kSpecialFlag) == 0) return state_->data.tokens[static_cast<size_t>(id)];
  const std::vector<Special>& specials = state_->data.specials;
  return std::lower_bound(specials.begin(), specials.end(), id, [](const Special& s, TokenId want) { return s.id < want; })->text;
}

std::optional<TokenId> Tokenizer::find_special(std::string_view text) const {
  for (const Special& special : state_->data.specials) {
    if (special.text == text) return special.id;
  }
  return std::nullopt;
}

bool Tokenizer::is_special(TokenId id) const {
  return id >= 0 && static_cast<size_t>(id) < state_->flags.size() && (state_->flags[static_cast<size_t>(id)] & kSpecialFlag) != 0;
}

bool Tokenizer::is_control(TokenId id) const {
  return id >= 0 && static_cast<size_t>(id) < state_->flags.size() && (state_->flags[static_cast<size_t>(id)] & kControlFlag) != 0;
}

std::optional<TokenId> Tokenizer::bos() const { return state_->data.bos; }
const TokenizerData& Tokenizer::data() const { return state_->data; }

}  // namespace quern
