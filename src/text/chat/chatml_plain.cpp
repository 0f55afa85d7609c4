// ChatML as a loop over messages: the plain form, Qwen1.5 (base), Qwen2 and SmolLM2. They differ by the default system text.
#include "text/chat/chatml.h"
#include "text/chat/list.h"

namespace quern {

ChatFormat chatml_plain() {
  return {.name = "chatml",
          .render = [](std::span<const ChatMessage> messages,
                       const ChatOptions& options) { return render_turns(messages, options, "", "chatml"); },
          .stops = chatml_stops(),
          .thinks = false};
}

// The text without a full stop is Qwen1.5's own.
ChatFormat chatml_qwen15_base() {
  return {.name = "chatml-qwen1.5-base",
          .render =
              [](std::span<const ChatMessage> messages, const ChatOptions& options) {
                return render_turns(messages, options, "You are a helpful assistant", "chatml-qwen1.5-base");
              },
          .stops = chatml_stops(),
          .thinks = false};
}

ChatFormat chatml_qwen2() {
  return {
      .name = "chatml-qwen2",
      .render = [](std::span<const ChatMessage> messages,
                   const ChatOptions& options) { return render_turns(messages, options, "You are a helpful assistant.", "chatml-qwen2"); },
      .stops = chatml_stops(),
      .thinks = false};
}

ChatFormat chatml_smollm2() {
  return {.name = "chatml-smollm2",
          .render =
              [](std::span<const ChatMessage> messages, const ChatOptions& options) {
                return render_turns(messages, options, "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
                                    "chatml-smollm2");
              },
          .stops = chatml_stops(),
          .thinks = false};
}

}  // namespace quern
