// The body of /v1/chat/completions (and of the routes that render a chat) into a prompt and a plan. Runs on a worker; stateless.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "server/generation_plan.h"
#include "server/request_fields.h"
#include "server/sampling_request.h"
#include "server/served_model.h"
#include "server/tools_request.h"

namespace quern {

inline constexpr size_t kMaxChatMessages = 4096, kMaxTools = 128;

// A conversation as the chat format takes it.
struct ChatPrompt {
  std::vector<PromptPiece> pieces;
  ToolsRequest tools;
  bool starts_in_reasoning = false;
};

// Reads messages, tools, tool_choice, chat_template_kwargs and their kin, and renders them. `text` is the body that `fields` were read
// from: tools keep the order of their keys.
ChatPrompt read_chat_prompt(const RequestFields& fields, std::string_view text, const ServedModel& model);

// The text of a string or of an array of text parts. Anything else is a 400 that names it.
std::string read_content(const Json& content, const std::string& path);
std::vector<ChatMessage> read_chat_messages(const Json& messages, const std::string& path);

GenerationPlan read_chat_request(std::string_view body, const ServedModel& model);

// The body as JSON within the limits for requests. Throws 400 invalid_json.
Json parse_request(std::string_view body);
// What the reply says of fields that nobody asked for: "a, b", at most some hundred bytes.
std::string ignored_header(const RequestFields& fields);

}  // namespace quern
