// Prompts of the command line as token ids: raw, or in the model's chat format. Stateless.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "text/chat_format.h"

namespace quern {

struct PromptStyle {
  const Tokenizer* tokenizer = nullptr;
  const ChatFormat* chat = nullptr;  // null: prompts are raw text
  std::string system;                // first message of a chat; empty: what the format has by itself
  std::optional<bool> thinking;      // formats without thinking ignore it
};

// The style of `engine`'s model; `raw` overrides a chat format. Throws usage for a system prompt or thinking that has no chat format.
PromptStyle prompt_style(const Engine& engine, bool raw, const std::string& system, const std::string& thinking);

// One user's text. Raw text may hold special tokens; text in a chat never makes a control token.
std::vector<TokenId> encode_text(const PromptStyle& style, const std::string& text);
// A conversation, ready for the assistant's turn. Throws invalid_input when the model has no chat format.
std::vector<TokenId> encode_messages(const PromptStyle& style, std::span<const ChatMessage> messages);

// The file's whole text, standard input for "-". At most 64 MiB.
std::string read_prompt_file(const std::string& path);

}  // namespace quern
