#include "text/chat/chatml.h"

#include "text/json_text.h"

namespace quern {

void open_turn(PromptWriter& out, std::string_view role) { out.format("<|im_start|>").format(role).format("\n"); }

void write_turn(PromptWriter& out, std::string_view role, std::string_view content) {
  open_turn(out, role);
  out.user(content).format("<|im_end|>\n");
}

std::vector<PromptPiece> render_turns(std::span<const ChatMessage> messages, const ChatOptions& options, std::string_view default_system,
                                      const char* format) {
  check_roles(messages, format);
  refuse_tools(messages, options, format);
  PromptWriter out;
  if (!default_system.empty() && messages[0].role != "system") {
    out.format("<|im_start|>system\n").format(default_system).format("<|im_end|>\n");
  }
  for (const ChatMessage& message : messages) write_turn(out, message.role, message.content);
  if (options.add_generation_prompt) out.format("<|im_start|>assistant\n");
  return out.take();
}

void write_tools(PromptWriter& out, const std::vector<OrderedJson>& tools, bool twice) {
  out.format(
      "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within "
      "<tools></tools> XML tags:\n<tools>");
  for (const OrderedJson& tool : tools) out.format("\n").user(python_json(tool));
  out.format(
      "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML "
      "tags:\n<tool_call>\n");
  out.format(twice ? "{{\"name\": <function-name>, \"arguments\": <args-json-object>}}"
                   : "{\"name\": <function-name>, \"arguments\": <args-json-object>}");
  out.format("\n</tool_call><|im_end|>\n");
}

void write_tool_result(PromptWriter& out, std::span<const ChatMessage> messages, size_t i) {
  if (i == 0 || messages[i - 1].role != "tool") out.format("<|im_start|>user");
  out.format("\n<tool_response>\n").user(messages[i].content).format("\n</tool_response>");
  if (i + 1 == messages.size() || messages[i + 1].role != "tool") out.format("<|im_end|>\n");
}

std::vector<std::string> chatml_stops() { return {"<|im_end|>", "<|im_start|>", "<|endoftext|>"}; }

}  // namespace quern
