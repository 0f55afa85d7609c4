// First-generation Qwen (qwen_generation_utils.py, make_context): role, line break and content of a turn are encoded apart; turns are
// joined by a line break, so that the last one has none behind it.
#include "text/chat/chatml.h"
#include "text/chat/list.h"

namespace quern {
namespace {

std::vector<PromptPiece> render(std::span<const ChatMessage> messages, const ChatOptions& options) {
  check_roles(messages, "chatml-qwen1");
  refuse_tools(messages, options, "chatml-qwen1");  // its tools are ReAct text in the user's turn
  PromptWriter out;
  const auto turn = [&](std::string_view role) { out.format("<|im_start|>").apart().format(role).apart().format("\n").apart(); };
  bool is_first = true;
  const auto between = [&] {
    if (!is_first) out.apart().format("\n").apart();
    is_first = false;
  };
  if (messages[0].role != "system") {
    between();
    turn("system");
    out.format("You are a helpful assistant.").apart().format("<|im_end|>");
  }
  for (const ChatMessage& message : messages) {
    between();
    turn(message.role);
    out.user(message.content).apart().format("<|im_end|>");
  }
  if (options.add_generation_prompt) {
    between();
    turn("assistant");
  }
  return out.take();
}

}  // namespace

ChatFormat chatml_qwen1() { return {.name = "chatml-qwen1", .render = &render, .stops = chatml_stops(), .thinks = false}; }

}  // namespace quern
