// Text into the pieces that BPE never joins: the pre-tokenizer patterns of the families as hand-written linear scanners.
// One scanner a text; the text must outlive it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "text/tokenizer.h"

namespace quern {

class PieceScanner {
 public:
  // `text` is well-formed UTF-8, and normalised where the model wants that. Splitter::none gives the whole text as one piece.
  PieceScanner(TokenizerData::Splitter splitter, std::string_view text);

  // The next piece, never empty; "" at the end.
  std::string_view next();

 private:
  size_t qwen2_end(size_t max_digits) const;
  size_t gpt2_end() const;
  size_t spaces_end(bool newlines_end_pieces) const;
  size_t contraction_end(bool any_case) const;
  size_t run_end(size_t at, uint8_t bits, uint8_t wanted) const;

  TokenizerData::Splitter splitter_;
  std::string_view text_;  // smollm: up to the next number
  size_t size_;            // of the whole text
  const char* begin_;
  size_t at_ = 0;
};

// The splitter that a Hugging Face pattern (the Regex of a Split pre-tokenizer) stands for; nothing when it is not implemented.
std::optional<TokenizerData::Splitter> splitter_of_pattern(std::string_view pattern);
// The same for tokenizer.ggml.pre.
std::optional<TokenizerData::Splitter> splitter_of_gguf(std::string_view pre);

}  // namespace quern
