#include "text/splitter.h"

#include "text/unicode.h"

namespace quern {
namespace {

using Splitter = TokenizerData::Splitter;

constexpr uint8_t kWordBits = kLetterBit | kNumberBit | kSpaceBit;

struct Known {
  const char* name;
  Splitter splitter;
};
constexpr Known kPatterns[] = {
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)", Splitter::qwen2},
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", Splitter::gpt2},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     Splitter::llama3},
};
constexpr Known kGgufNames[] = {
    {"qwen2", Splitter::qwen2},      {"deepseek-r1-qwen", Splitter::qwen2}, {"gpt-2", Splitter::gpt2},      {"smollm", Splitter::smollm},
    {"llama-bpe", Splitter::llama3}, {"llama3", Splitter::llama3},          {"llama-v3", Splitter::llama3},
};

template <size_t N>
std::optional<Splitter> find(const Known (&table)[N], std::string_view name) {
  for (const Known& known : table) {
    if (name == known.name) return known.splitter;
  }
  return std::nullopt;
}

uint8_t bits_at(std::string_view text, size_t at) { return character_bits(character_at(text, at).code_point); }

bool is_newline(char c) { return c == '\r' || c == '\n'; }

}  // namespace

std::optional<Splitter> splitter_of_pattern(std::string_view pattern) { return find(kPatterns, pattern); }
std::optional<Splitter> splitter_of_gguf(std::string_view pre) { return find(kGgufNames, pre); }

PieceScanner::PieceScanner(Splitter splitter, std::string_view text)
    : splitter_(splitter), text_(text), size_(text.size()), begin_(text.data()) {
  if (splitter == Splitter::smollm) text_ = text.substr(0, 0);
}

// End of the run, from `at`, of characters whose `bits` are not zero (`wanted` 1) or are zero (`wanted` 0).
size_t PieceScanner::run_end(size_t at, uint8_t bits, uint8_t wanted) const {
  while (at < text_.size()) {
    const Character c = character_at(text_, at);
    if (((character_bits(c.code_point) & bits) != 0) != (wanted != 0)) break;
    at += c.length;
  }
  return at;
}

// After an apostrophe at at_: the end of 's, 't, 're, 've, 'm, 'll, 'd; 0 when none follows.
size_t PieceScanner::contraction_end(bool any_case) const {
  const auto letter = [&](size_t i) -> char {
    if (i >= text_.size()) return '\0';
    const char c = text_[i];
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  };
  const char first = letter(at_ + 1), second = letter(at_ + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at_ + 2;
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l')) return at_ + 3;
  // U+017F, the long s, is an s to a regular expression without regard to case.
  if (any_case && text_.substr(at_ + 1, 2) == "\xc5\xbf") return at_ + 3;
  return 0;
}

// White space at at_, by `\s*[\r\n]+` (if asked for), `\s+(?!\S)` and `\s+`.
size_t PieceScanner::spaces_end(bool newlines_end_pieces) const {
  size_t at = at_, last = at_, after_newline = 0;
  while (at < text_.size()) {
    const Character c = character_at(text_, at);
    if ((character_bits(c.code_point) & kSpaceBit) == 0) break;
    last = at;
    at += c.length;
    if (is_newline(text_[last])) after_newline = at;
  }
  if (newlines_end_pieces && after_newline != 0) return after_newline;
  return at == text_.size() || last == at_ ? at : last;
}

// The patterns of Qwen (one digit at a time) and Llama-3 (up to three), rule by rule as in docs/text.md.
size_t PieceScanner::qwen2_end(size_t max_digits) const {
  const Character first = character_at(text_, at_);
  if (first.code_point == '\'') {
    if (const size_t end = contraction_end(true); end != 0) return end;
  }
  const uint8_t bits = character_bits(first.code_point);
  const size_t second = at_ + first.length;
  if ((bits & kLetterBit) != 0) return run_end(second, kLetterBit, 1);
  if ((bits & kNumberBit) != 0) {
    size_t at = second;
    for (size_t digits = 1; digits < max_digits && at < text_.size(); ++digits) {
      const Character c = character_at(text_, at);
      if ((character_bits(c.code_point) & kNumberBit) == 0) break;
      at += c.length;
    }
    return at;
  }
  const bool has_second = second < text_.size();
  const uint8_t second_bits = has_second ? bits_at(text_, second) : 0;
  if (!is_newline(text_[at_]) && has_second && (second_bits & kLetterBit) != 0) return run_end(second, kLetterBit, 1);
  const bool is_space = (bits & kSpaceBit) != 0;
  if (!is_space || (text_[at_] == ' ' && has_second && (second_bits & kWordBits) == 0)) {
    size_t at = run_end(second, kWordBits, 0);
    while (at < text_.size() && is_newline(text_[at])) ++at;
    return at;
  }
  return spaces_end(true);
}

size_t PieceScanner::gpt2_end() const {
  if (text_[at_] == '\'') {
    if (const size_t end = contraction_end(false); end != 0) return end;
  }
  const Character first = character_at(text_, at_);
  uint8_t bits = character_bits(first.code_point);
  const size_t second = at_ + first.length;
  if ((bits & kSpaceBit) != 0) {
    if (text_[at_] != ' ' || second >= text_.size()) return spaces_end(false);
    bits = bits_at(text_, second);
    if ((bits & kSpaceBit) != 0) return spaces_end(false);
  }
  if ((bits & kLetterBit) != 0) return run_end(second, kLetterBit, 1);
  if ((bits & kNumberBit) != 0) return run_end(second, kNumberBit, 1);
  return run_end(second, kWordBits, 0);
}

std::string_view PieceScanner::next() {
  if (at_ == size_) return {};
  const size_t begin = at_;
  if (splitter_ == Splitter::smollm && at_ == text_.size()) {  // the stretch up to the next number, or that number
    text_ = std::string_view(begin_, size_);
    const Character c = character_at(text_, at_);
    if ((character_bits(c.code_point) & kNumberBit) != 0) {
      at_ += c.length;
      text_ = text_.substr(0, at_);
      return text_.substr(begin);
    }
    text_ = text_.substr(0, run_end(at_, kNumberBit, 0));
  }
  switch (splitter_) {
    case Splitter::none: at_ = size_; break;
    case Splitter::qwen2: at_ = qwen2_end(1); break;
    case Splitter::llama3: at_ = qwen2_end(3); break;
    case Splitter::gpt2:
    case Splitter::smollm: at_ = gpt2_end(); break;
  }
  return text_.substr(begin, at_ - begin);
}

}  // namespace quern
