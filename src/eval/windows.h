// Which tokens of a text are predicted from which others: the two rules by which perplexity is commonly measured.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace quern {

struct WindowRule {
  size_t context = 512;  // tokens of a window
  // Absent: llama.cpp's rule. Windows follow each other without overlap, the tokens of the second half but its first count, a rest that
  // does not fill a window is dropped. Present: Hugging Face's strided rule. A window begins every `stride` tokens and counts the tokens
  // that no window before it held.
  std::optional<size_t> stride;
  size_t max_windows = 0;  // 0 = all
};

struct TokenWindow {
  size_t begin, end;    // of the text's ids
  size_t first_target;  // ids [first_target, end) count, each predicted from ids [begin, it)
  double weight;        // of the window's mean in the whole mean

  size_t num_targets() const { return end - first_target; }
};

// Throws invalid_input when the text has fewer tokens than one window (llama.cpp's rule) or fewer than two.
std::vector<TokenWindow> make_windows(size_t num_ids, const WindowRule& rule);

// A text as token ids and windows over them.
struct EvalText {
  std::vector<TokenId> ids;
  std::vector<TokenWindow> windows;
  std::optional<TokenId> bos;  // stands in place of each window's first token (llama.cpp's rule for models that want one)

  std::vector<TokenId> window_ids(const TokenWindow& window) const;
};

// Special tokens in `text` stay text. One line end at the end of the text is left out, as llama.cpp does.
EvalText make_eval_text(std::string_view text, const Tokenizer& tokenizer, const WindowRule& rule);

}  // namespace quern
