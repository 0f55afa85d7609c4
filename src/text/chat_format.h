// Conversations as prompts: one file a format in text/chat/, one line in text/chat/list.h. Stateless.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "text/tokenizer.h"

namespace quern {

struct ToolCall {
  std::string name;
  // What the template gets: an object as a rule. A string is printed as the templates do, Qwen2.5 as a quoted string, Qwen3 as it is; who
  // has OpenAI's form, where arguments are JSON text, parses it first.
  OrderedJson arguments;
};

struct ChatMessage {
  std::string role;  // system, user, assistant, tool
  std::string content;
  std::string reasoning = {};
  bool has_reasoning = false;
  std::vector<ToolCall> tool_calls = {};
};

struct ChatOptions {
  bool add_generation_prompt = true;
  std::optional<bool> enable_thinking;  // formats without thinking ignore it
  bool preserves_thinking = false;      // of earlier turns: the next prompt goes on with this one's tokens; Qwen3's formats only
  std::vector<OrderedJson> tools;       // as OpenAI's `tools`
};

// A prompt in pieces: what the format itself wrote (special tokens are parsed there) and what came from messages (control tokens never
// are).
struct PromptPiece {
  std::string text;
  bool from_user;             // message content, names, arguments, tools
  bool starts_apart = false;  // encoded on its own: not joined with the text before it (first-generation Qwen)
};

struct ChatFormat {
  const char*
      name;  // saved in the engine file: "chatml-qwen1", "chatml-qwen2", "chatml-qwen2.5", "chatml-qwen3", "chatml-smollm2", "llama2"...
  std::vector<PromptPiece> (*render)(std::span<const ChatMessage> messages,
                                     const ChatOptions& options);  // throws invalid_input for roles it does not know
  std::vector<std::string> stops;                                  // special tokens that end a turn: "<|im_end|>", ...
  bool thinks;                                                     // answers may start with <think>
  bool xml_calls = false;                                          // tools are called as <function=NAME>, else as JSON
};

// Throws incompatible "WHERE: want one of ...; found ..." with the list.
const ChatFormat& chat_format(std::string_view name, std::string_view where = "chat format");
std::span<const ChatFormat> chat_formats();
// The format whose output equals what this Jinja template renders, by recognising the template; null when none.
const ChatFormat* recognise_chat_template(std::string_view jinja);

std::string prompt_text(std::span<const PromptPiece> pieces);
// Whether the answer to this prompt starts inside the reasoning: its tail is an open "<think>" that the format wrote.
bool opens_thinking(std::span<const PromptPiece> pieces);
// Encodes piece by piece as text would be as a whole: format pieces with all special tokens, user pieces without control tokens.
std::vector<TokenId> encode_prompt(const Tokenizer& tokenizer, std::span<const PromptPiece> pieces);

}  // namespace quern
