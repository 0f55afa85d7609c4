// Text to ids: from the whole text down to pieces.
#include "text/encoding.h"

#include <algorithm>

#include "text/splitter.h"
#include "text/unicode.h"

namespace quern {
namespace {

using Kind = TokenizerData::Kind;
using Prefix = TokenizerData::Prefix;
using Special = TokenizerData::Special;
using Range = std::pair<size_t, size_t>;

constexpr std::string_view kLowerBlock = "\xe2\x96\x81";  // U+2581, SentencePiece's space

// One call of encode: the state of the walk over one text.
class Encoding {
 public:
  static std::vector<TokenId> run(const Vocabulary& vocabulary, std::string_view text, Tokenizer::Specials mode,
                                  std::span<const Range> user_text, bool add_bos) {
    Encoding encoding(mode, user_text);
    encoding.out_.reserve(text.size() / 4 + 8);
    if (add_bos && vocabulary.data.bos) encoding.out_.push_back(*vocabulary.data.bos);
    encoding.text(vocabulary, text);
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

  void text(const Vocabulary& vocabulary, std::string_view text) {
    for (size_t at = 0; at < text.size();) {
      SpecialMatcher::Match match = {text.size(), text.size(), nullptr};
      if (mode_ != Tokenizer::Specials::as_text && !vocabulary.specials.empty()) {
        match = vocabulary.specials.find(text, at, [&](const Special& s, size_t begin, size_t end) { return accepts(s, begin, end); });
      }
      if (match.begin > at) stretch(vocabulary, text.substr(at, match.begin - at), at);
      if (match.special != nullptr) out_.push_back(match.special->id);
      at = match.end;
    }
  }

  // Text between special tokens that starts at `offset` of the whole.
  void stretch(const Vocabulary& vocabulary, std::string_view text, size_t offset) {
    std::string normal;
    if (vocabulary.data.nfc && !is_certainly_nfc(text)) {
      normal = nfc(text);
      if (normal != text) {
        plain_or_special(vocabulary, normal, offset, touches_user(offset, offset + text.size()));
        return;
      }
    }
    plain_or_special(vocabulary, text, offset, touches_user(offset, offset + text.size()));
  }

  void plain_or_special(const Vocabulary& vocabulary, std::string_view text, size_t offset, bool has_user_text) {
    if (vocabulary.normalized_specials.empty() || mode_ == Tokenizer::Specials::as_text) {
      plain(vocabulary, text, offset == 0);
      return;
    }
    const bool control = mode_ == Tokenizer::Specials::all && !has_user_text;
    for (size_t at = 0; at < text.size();) {
      const auto match =
          vocabulary.normalized_specials.find(text, at, [&](const Special& s, size_t, size_t) { return control || !s.control; });
      if (match.begin > at) plain(vocabulary, text.substr(at, match.begin - at), offset == 0 && at == 0);
      if (match.special != nullptr) out_.push_back(match.special->id);
      at = match.end;
    }
  }

  void plain(const Vocabulary& vocabulary, std::string_view text, bool is_first) {
    if (vocabulary.data.kind == Kind::char_bpe) {
      spaced(vocabulary, text, is_first);
      return;
    }
    PieceScanner scanner(vocabulary.data.splitter, text);
    for (std::string_view piece = scanner.next(); !piece.empty(); piece = scanner.next()) {
      vocabulary.encode_piece(piece, out_, symbols_, scratch_);
    }
  }

  // SentencePiece text: a space in front, U+2581 read as a space, pieces that start with their spaces.
  void spaced(const Vocabulary& vocabulary, std::string_view text, bool is_first) {
    std::string copy;
    const Prefix prefix = vocabulary.data.prefix;
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
    if (!vocabulary.split_at_spaces) {
      vocabulary.encode_piece(text, out_, symbols_, scratch_);
      return;
    }
    for (size_t at = 0; at < text.size();) {
      const size_t word = std::min(text.find_first_not_of(' ', at), text.size());
      const size_t end = std::min(text.find(' ', word), text.size());
      vocabulary.encode_piece(text.substr(at, end - at), out_, symbols_, scratch_);
      at = end;
    }
  }

  Tokenizer::Specials mode_;
  std::span<const Range> user_text_;
  std::vector<TokenId> out_, symbols_;
  MergeTable::Scratch scratch_;
};

}  // namespace

std::vector<TokenId> encode_text(const Vocabulary& vocabulary, std::string_view text, Tokenizer::Specials specials,
                                 std::span<const Range> user_text, bool add_bos) {
  return Encoding::run(vocabulary, text, specials, user_text, add_bos);
}

}  // namespace quern
