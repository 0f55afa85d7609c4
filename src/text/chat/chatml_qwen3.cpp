// Qwen3: hybrid (thinking by option), Instruct-2507 (never thinks) and Thinking-2507 (the prompt opens <think>). The rules are in
// docs/text.md. "first" is the hybrid template of the first weeks, which the official GGUF files hold.
#include "text/chat/chatml.h"
#include "text/chat/list.h"
#include "text/json_text.h"

namespace quern {
namespace {

enum class Mode { first, hybrid, instruct, thinking };

constexpr std::string_view kThink = "<think>", kThinkEnd = "</think>";

std::string_view without_leading_newlines(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  return text;
}
std::string_view without_trailing_newlines(std::string_view text) {
  return text.substr(0, text.find_last_not_of('\n') + 1);  // npos + 1 is 0
}

// Rule 3: index of the last question of the user, tool results in user turns not counted; the last message when there is none.
size_t last_query(std::span<const ChatMessage> messages, Mode mode) {
  const auto is_result = [&](std::string_view content) {
    constexpr std::string_view kOpen = "<tool_response>", kClose = "</tool_response>";
    if (mode == Mode::first) return content.find(kOpen) != content.npos && content.find(kClose) != content.npos;
    return content.starts_with(kOpen) && content.ends_with(kClose);
  };
  for (size_t i = messages.size(); i > 0; --i) {
    if (messages[i - 1].role == "user" && !is_result(messages[i - 1].content)) return i - 1;
  }
  return messages.size() - 1;
}

// Rule 4: reasoning and content of an assistant message.
struct Parts {
  std::string_view reasoning, content;
};
Parts parts_of(const ChatMessage& message) {
  const std::string_view content = message.content;
  if (message.has_reasoning) return {message.reasoning, content};
  const size_t first_end = content.find(kThinkEnd);
  if (first_end == content.npos) return {"", content};
  std::string_view reasoning = without_trailing_newlines(content.substr(0, first_end));
  if (const size_t open = reasoning.rfind(kThink); open != reasoning.npos) reasoning.remove_prefix(open + kThink.size());
  return {without_leading_newlines(reasoning), without_leading_newlines(content.substr(content.rfind(kThinkEnd) + kThinkEnd.size()))};
}

void write_assistant(PromptWriter& out, Mode mode, const ChatMessage& message, bool is_after_query, bool is_last, bool is_quiet) {
  Parts parts = mode == Mode::instruct ? Parts{"", message.content} : parts_of(message);
  open_turn(out, "assistant");
  if (is_quiet && parts.reasoning.empty()) {
    out.format("<think>\n\n</think>\n\n").user(parts.content);
  } else if (mode != Mode::instruct && is_after_query && (is_last || !parts.reasoning.empty())) {
    out.format("<think>\n").user(without_trailing_newlines(without_leading_newlines(parts.reasoning))).format("\n</think>\n\n");
    out.user(without_leading_newlines(parts.content));
  } else {
    out.user(parts.content);
  }
  for (size_t i = 0; i < message.tool_calls.size(); ++i) {  // rule 5
    const ToolCall& call = message.tool_calls[i];
    if (i > 0 || !parts.content.empty()) out.format("\n");
    out.format("<tool_call>\n{\"name\": \"").user(call.name).format("\", \"arguments\": ");
    out.user(call.arguments.is_string() ? call.arguments.get_ref<const std::string&>() : python_json(call.arguments));
    out.format("}\n</tool_call>");
  }
  out.format("<|im_end|>\n");
}

template <Mode mode>
std::vector<PromptPiece> render(std::span<const ChatMessage> messages, const ChatOptions& options) {
  check_roles(messages, "chatml-qwen3");
  PromptWriter out;
  const bool has_system = messages[0].role == "system";
  if (!options.tools.empty()) {  // rule 2
    out.format("<|im_start|>system\n");
    if (has_system) out.user(messages[0].content).format("\n\n");
    write_tools(out, options.tools, false);
  } else if (has_system) {  // rule 1
    write_turn(out, "system", messages[0].content);
  }
  const size_t query = last_query(messages, mode);
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    if (message.role == "assistant") {
      // Kept as it was generated: with its reasoning, or with the empty block of a prompt that turned thinking off.
      const bool is_quiet = options.preserves_thinking && mode != Mode::instruct && options.enable_thinking == false;
      write_assistant(out, mode, message, i > query || options.preserves_thinking, i + 1 == messages.size(), is_quiet);
    } else if (message.role == "tool") {  // rule 6
      write_tool_result(out, messages, i);
    } else if (message.role == "user" || i > 0) {
      write_turn(out, message.role, message.content);
    }
  }
  if (options.add_generation_prompt) {  // rules 7 and 8
    out.format("<|im_start|>assistant\n");
    if (mode == Mode::thinking) out.format("<think>\n");
    if ((mode == Mode::hybrid || mode == Mode::first) && options.enable_thinking == false) out.format("<think>\n\n</think>\n\n");
  }
  return out.take();
}

}  // namespace

ChatFormat chatml_qwen3() { return {.name = "chatml-qwen3", .render = &render<Mode::hybrid>, .stops = chatml_stops(), .thinks = true}; }
ChatFormat chatml_qwen3_first() {
  return {.name = "chatml-qwen3-first", .render = &render<Mode::first>, .stops = chatml_stops(), .thinks = true};
}
ChatFormat chatml_qwen3_instruct() {
  return {.name = "chatml-qwen3-instruct", .render = &render<Mode::instruct>, .stops = chatml_stops(), .thinks = false};
}
ChatFormat chatml_qwen3_thinking() {
  return {.name = "chatml-qwen3-thinking", .render = &render<Mode::thinking>, .stops = chatml_stops(), .thinks = true};
}

}  // namespace quern
