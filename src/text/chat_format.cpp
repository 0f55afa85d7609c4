#include "text/chat_format.h"

#include "text/chat/list.h"

namespace quern {
namespace {

const std::vector<ChatFormat>& formats() {
  static const std::vector<ChatFormat> all = all_chat_formats();  // immutable; made once
  return all;
}

}  // namespace

std::span<const ChatFormat> chat_formats() { return formats(); }

const ChatFormat& chat_format(std::string_view name, std::string_view where) {
  std::string names;
  for (const ChatFormat& format : formats()) {
    if (name == format.name) return format;
    names += (names.empty() ? "" : ", ") + std::string(format.name);
  }
  raise(incompatible, "{}: want one of {}; found \"{}\"", where, names, escaped(name, 60));
}

std::string prompt_text(std::span<const PromptPiece> pieces) {
  std::string text;
  for (const PromptPiece& piece : pieces) text += piece.text;
  return text;
}

bool opens_thinking(std::span<const PromptPiece> pieces) {
  return !pieces.empty() && !pieces.back().from_user &&
         (pieces.back().text.ends_with("<think>\n") || pieces.back().text.ends_with("<think>"));
}

std::vector<TokenId> encode_prompt(const Tokenizer& tokenizer, std::span<const PromptPiece> pieces) {
  std::vector<TokenId> ids;
  std::string text;
  std::vector<std::pair<size_t, size_t>> user_text;
  const auto flush = [&] {
    const std::vector<TokenId> part = tokenizer.encode_mixed(text, user_text);
    ids.insert(ids.end(), part.begin(), part.end());
    text.clear();
    user_text.clear();
  };
  for (const PromptPiece& piece : pieces) {
    if (piece.starts_apart) flush();
    const size_t begin = text.size();
    text += piece.text;
    if (piece.from_user) user_text.emplace_back(begin, text.size());
  }
  flush();
  return ids;
}

}  // namespace quern
