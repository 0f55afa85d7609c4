// Qwen2.5 (Instruct, Coder, base, Math) and QwQ: tools as JSON lines in the system turn, calls and results as tagged JSON.
#include "text/chat/chatml.h"
#include "text/chat/list.h"
#include "text/json_text.h"

namespace quern {
namespace {

struct Variant {
  const char* name;
  const char* default_system;                                           // "": no system turn without tools
  bool braces_twice = false;                                            // the templates of the first weeks
  enum { kKeep, kDropThinking, kDropThinkingButLast } history = kKeep;  // what of "...</think>" in assistant turns
  bool opens_thinking = false;                                          // the generation prompt ends in <think>
};

// Python's content.split('</think>')[-1].lstrip('\n')
std::string_view after_thinking(std::string_view content) {
  constexpr std::string_view kEnd = "</think>";
  if (const size_t at = content.rfind(kEnd); at != content.npos) content.remove_prefix(at + kEnd.size());
  content.remove_prefix(std::min(content.find_first_not_of('\n'), content.size()));
  return content;
}

void write_assistant(PromptWriter& out, const Variant& v, const ChatMessage& message, bool is_last) {
  const bool drops = v.history == Variant::kDropThinking || (v.history == Variant::kDropThinkingButLast && !is_last);
  const std::string_view content = drops ? after_thinking(message.content) : std::string_view(message.content);
  if (message.tool_calls.empty()) {
    write_turn(out, "assistant", content);
    return;
  }
  out.format("<|im_start|>assistant");
  if (!message.content.empty()) out.format("\n").user(content);
  for (const ToolCall& call : message.tool_calls) {
    out.format("\n<tool_call>\n{\"name\": \"").user(call.name).format("\", \"arguments\": ").user(python_json(call.arguments));
    out.format("}\n</tool_call>");
  }
  out.format("<|im_end|>\n");
}

std::vector<PromptPiece> render(std::span<const ChatMessage> messages, const ChatOptions& options, const Variant& v) {
  check_roles(messages, v.name);
  PromptWriter out;
  const bool has_system = messages[0].role == "system";
  if (!options.tools.empty()) {
    out.format("<|im_start|>system\n");
    if (has_system) {
      out.user(messages[0].content);
    } else {
      out.format(v.default_system);
    }
    out.format("\n\n");
    write_tools(out, options.tools, v.braces_twice);
  } else if (has_system) {
    write_turn(out, "system", messages[0].content);
  } else if (*v.default_system != '\0') {
    out.format("<|im_start|>system\n").format(v.default_system).format("<|im_end|>\n");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    if (message.role == "assistant") {
      write_assistant(out, v, message, i + 1 == messages.size());
    } else if (message.role == "tool") {
      write_tool_result(out, messages, i);
    } else if (message.role == "user" || i > 0) {
      write_turn(out, message.role, message.content);
    }
  }
  if (options.add_generation_prompt) out.format(v.opens_thinking ? "<|im_start|>assistant\n<think>\n" : "<|im_start|>assistant\n");
  return out.take();
}

constexpr const char* kQwen = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
constexpr const char* kBase = "You are a helpful assistant.";
constexpr const char* kMath = "Please reason step by step, and put your final answer within \\boxed{}.";
constexpr const char* kQwq = "You are a helpful and harmless assistant. You are Qwen developed by Alibaba. You should think step-by-step.";

constexpr Variant kVariants[] = {
    {.name = "chatml-qwen2.5", .default_system = kQwen},
    {.name = "chatml-qwen2.5-base", .default_system = kBase},
    {.name = "chatml-qwen2.5-math", .default_system = kMath},
    {.name = "chatml-qwen2.5-first", .default_system = kQwen, .braces_twice = true},
    {.name = "chatml-qwen2.5-base-first", .default_system = kBase, .braces_twice = true},
    {.name = "chatml-qwen2.5-math-first", .default_system = kMath, .braces_twice = true},
    {.name = "chatml-qwq-preview", .default_system = kQwq},
    {.name = "chatml-qwq", .default_system = "", .history = Variant::kDropThinking, .opens_thinking = true},
    {.name = "chatml-qwq-prefill", .default_system = "", .history = Variant::kDropThinkingButLast, .opens_thinking = true},
};

template <size_t I>
ChatFormat variant() {
  return {
      .name = kVariants[I].name,
      .render = [](std::span<const ChatMessage> messages, const ChatOptions& options) { return render(messages, options, kVariants[I]); },
      .stops = chatml_stops(),
      .thinks = kVariants[I].opens_thinking};
}

}  // namespace

ChatFormat chatml_qwen25() { return variant<0>(); }
ChatFormat chatml_qwen25_base() { return variant<1>(); }
ChatFormat chatml_qwen25_math() { return variant<2>(); }
ChatFormat chatml_qwen25_first() { return variant<3>(); }
ChatFormat chatml_qwen25_base_first() { return variant<4>(); }
ChatFormat chatml_qwen25_math_first() { return variant<5>(); }
ChatFormat chatml_qwq_preview() { return variant<6>(); }
ChatFormat chatml_qwq() { return variant<7>(); }
ChatFormat chatml_qwq_prefill() { return variant<8>(); }

}  // namespace quern
