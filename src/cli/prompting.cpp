#include "cli/prompting.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/mapped_file.h"

namespace quern {
namespace {

constexpr size_t kMaxPromptBytes = size_t{64} << 20;

std::string read_stdin() {
  std::string text;
  std::vector<char> buffer(size_t{1} << 16);
  for (;;) {
    const ssize_t count = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (count == 0) return text;
    if (count < 0) raise(resource, "standard input: {}", std::strerror(errno));
    text.append(buffer.data(), static_cast<size_t>(count));
    if (text.size() > kMaxPromptBytes) raise(invalid_input, "standard input: want at most {} bytes", kMaxPromptBytes);
  }
}

}  // namespace

PromptStyle prompt_style(const Engine& engine, bool raw, const std::string& system, const std::string& thinking) {
  PromptStyle style{.tokenizer = &engine.tokenizer(), .chat = raw ? nullptr : engine.defaults().chat, .system = system, .thinking = {}};
  if (thinking != "auto") style.thinking = thinking == "on";
  if (style.chat == nullptr && !system.empty()) {
    raise(usage, "--system: {}", raw ? "a raw prompt has no system message" : "this model has no chat format");
  }
  return style;
}

std::vector<TokenId> encode_text(const PromptStyle& style, const std::string& text) {
  if (style.chat == nullptr) return style.tokenizer->encode(text, Tokenizer::Specials::all, true);
  const ChatMessage message{.role = "user", .content = text};
  return encode_messages(style, {&message, 1});
}

std::vector<TokenId> encode_messages(const PromptStyle& style, std::span<const ChatMessage> messages) {
  if (style.chat == nullptr) raise(invalid_input, "messages: this model has no chat format; give a prompt");
  ChatOptions options;
  options.enable_thinking = style.thinking;
  std::vector<ChatMessage> all;
  if (!style.system.empty() && (messages.empty() || messages[0].role != "system"))
    all.push_back({.role = "system", .content = style.system});
  all.insert(all.end(), messages.begin(), messages.end());
  return encode_prompt(*style.tokenizer, style.chat->render(all, options));
}

std::string read_prompt_file(const std::string& path) {
  std::string text = path == "-" ? read_stdin() : read_text_file(path, kMaxPromptBytes);
  if (text.empty()) raise(invalid_input, "{}: want a prompt, found an empty file", path == "-" ? "standard input" : escaped(path));
  return text;
}

}  // namespace quern
