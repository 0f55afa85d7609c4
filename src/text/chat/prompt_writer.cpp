#include "text/chat/prompt_writer.h"

namespace quern {

void check_roles(std::span<const ChatMessage> messages, const char* format) {
  if (messages.empty()) raise(invalid_input, "messages: want at least one, found none");
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant" && role != "tool") {
      raise(invalid_input, "messages[{}]: role: want system, user, assistant or tool, found \"{}\" (chat format {})", i, escaped(role, 60),
            format);
    }
  }
}

void refuse_tools(std::span<const ChatMessage> messages, const ChatOptions& options, const char* format) {
  if (!options.tools.empty()) raise(invalid_input, "tools: chat format {} has none", format);
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role == "tool" || !messages[i].tool_calls.empty()) {
      raise(invalid_input, "messages[{}]: chat format {} has no tool turns", i, format);
    }
  }
}

}  // namespace quern
