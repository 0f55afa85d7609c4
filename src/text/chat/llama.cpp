// Chat formats of the Llama family: TinyLlama's (Zephyr's) and Llama-2's.
#include "text/chat/list.h"
#include "text/chat/prompt_writer.h"
#include "text/chat/python_text.h"

namespace quern {
namespace {

std::vector<PromptPiece> render_zephyr(std::span<const ChatMessage> messages, const ChatOptions& options) {
  check_roles(messages, "zephyr");
  refuse_tools(messages, options, "zephyr");
  PromptWriter out;
  for (const ChatMessage& message : messages) {
    out.format("<|").format(message.role).format("|>\n").user(message.content).format("</s>\n");
  }
  if (options.add_generation_prompt) out.format("<|assistant|>\n");
  return out.take();
}

std::vector<PromptPiece> render_llama2(std::span<const ChatMessage> messages, const ChatOptions& options) {
  check_roles(messages, "llama2");
  refuse_tools(messages, options, "llama2");
  PromptWriter out;
  const size_t first = messages[0].role == "system" ? 1 : 0;
  if (first == messages.size()) raise(invalid_input, "messages: chat format llama2 wants a user message after the system message");
  for (size_t i = first; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    const bool is_user = (i - first) % 2 == 0;
    if ((message.role == "user") != is_user) {
      raise(invalid_input, "messages[{}]: role: chat format llama2 wants {} here, found {}", i, is_user ? "user" : "assistant",
            message.role);
    }
    if (!is_user) {
      if (message.role == "system") continue;  // the template drops it
      out.format(" ").user(python_stripped(message.content)).format(" </s>");
      continue;
    }
    out.format("<s>[INST] ");
    if (i == 1) {  // the two texts are stripped as one: the question's start stays, and may be all that ends the system text
      const std::string_view question = python_stripped_right(message.content);
      out.format("<<SYS>>\n").user(messages[0].content).format(question.empty() ? "\n<</SYS>>" : "\n<</SYS>>\n\n").user(question);
    } else {
      out.user(python_stripped(message.content));
    }
    out.format(" [/INST]");
  }
  return out.take();
}

}  // namespace

ChatFormat zephyr() { return {.name = "zephyr", .render = &render_zephyr, .stops = {"</s>"}, .thinks = false}; }
ChatFormat llama2() { return {.name = "llama2", .render = &render_llama2, .stops = {"</s>"}, .thinks = false}; }

}  // namespace quern
