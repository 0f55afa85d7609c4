#include "eval/windows.h"

#include <algorithm>

#include "base/error.h"

namespace quern {
namespace {

std::vector<TokenWindow> halves(size_t num_ids, size_t context) {
  if (context < 4) raise(usage, "windows: want at least 4 tokens, found {}", context);
  if (num_ids < context) raise(invalid_input, "text: want at least the {} tokens of a window, found {}", context, num_ids);
  std::vector<TokenWindow> windows;
  for (size_t begin = 0; begin + context <= num_ids; begin += context) {
    const size_t first_target = begin + context / 2 + 1, end = begin + context;
    windows.push_back({begin, end, first_target, static_cast<double>(end - first_target)});
  }
  return windows;
}

// The weights are those of the published program, which takes one token off each window's count, not of the first window alone.
std::vector<TokenWindow> strides(size_t num_ids, size_t context, size_t stride) {
  if (stride < 1 || stride > context) raise(usage, "stride: want 1 to {} tokens, found {}", context, stride);
  if (num_ids < 2) raise(invalid_input, "text: want at least 2 tokens, found {}", num_ids);
  std::vector<TokenWindow> windows;
  for (size_t begin = 0, done = 0; done < num_ids; begin += stride) {
    const size_t end = std::min(begin + context, num_ids);
    windows.push_back({begin, end, std::max(done, begin + 1), static_cast<double>(end - done) - 1});
    done = end;
  }
  return windows;
}

}  // namespace

std::vector<TokenWindow> make_windows(size_t num_ids, const WindowRule& rule) {
  std::vector<TokenWindow> windows = rule.stride ? strides(num_ids, rule.context, *rule.stride) : halves(num_ids, rule.context);
  if (rule.max_windows != 0 && windows.size() > rule.max_windows) windows.resize(rule.max_windows);
  return windows;
}

std::vector<TokenId> EvalText::window_ids(const TokenWindow& window) const {
  std::vector<TokenId> part(ids.begin() + static_cast<ptrdiff_t>(window.begin), ids.begin() + static_cast<ptrdiff_t>(window.end));
  if (bos) part.front() = *bos;
  return part;
}

EvalText make_eval_text(std::string_view text, const Tokenizer& tokenizer, const WindowRule& rule) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  EvalText result;
  result.ids = tokenizer.encode(text, Tokenizer::Specials::as_text, true);
  result.windows = make_windows(result.ids.size(), rule);
  if (!rule.stride) result.bos = tokenizer.bos();
  return result;
}

}  // namespace quern
