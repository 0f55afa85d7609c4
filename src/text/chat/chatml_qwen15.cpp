// Qwen1.5-Chat: the last turn stays open unless an answer is asked for, and an open assistant turn is not opened again.
#include "text/chat/chatml.h"
#include "text/chat/list.h"

namespace quern {
namespace {

std::vector<PromptPiece> render(std::span<const ChatMessage> messages, const ChatOptions& options) {
  check_roles(messages, "chatml-qwen1.5");
  refuse_tools(messages, options, "chatml-qwen1.5");
  PromptWriter out;
  if (messages[0].role != "system") out.format("<|im_start|>system\nYou are a helpful assistant<|im_end|>\n");
  for (size_t i = 0; i < messages.size(); ++i) {
    open_turn(out, messages[i].role);
    out.user(messages[i].content);
    if (options.add_generation_prompt || i + 1 < messages.size()) out.format("<|im_end|>\n");
  }
  if (options.add_generation_prompt && messages.back().role != "assistant") out.format("<|im_start|>assistant\n");
  return out.take();
}

}  // namespace

ChatFormat chatml_qwen15() { return {.name = "chatml-qwen1.5", .render = &render, .stops = chatml_stops(), .thinks = false}; }

}  // namespace quern
