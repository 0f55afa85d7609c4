// Which chat format a Jinja template is. Templates are never executed: known ones are compared, others are refused.
#include "text/chat_format.h"
#include "text/template_text.h"

namespace quern {
namespace {

// Official templates by the hash of their canonical text; docs/text.md says how to print it.
struct Known {
  uint64_t hash;
  const char* format;
};
constexpr Known kKnown[] = {
    {0xc2e9c07d9f8cca62, "chatml"},                // SmolLM-Instruct and many others
    {0xcd06767c7a0941eb, "chatml-qwen1.5"},        // Qwen1.5-Chat
    {0xd49260f8c3747e74, "chatml-qwen1.5-base"},   // Qwen1.5
    {0x5f5c80fc2450af20, "chatml-qwen2"},          // Qwen1.5-Chat (later), Qwen2, Qwen2-Instruct
    {0x5f7735828b482589, "chatml-smollm2"},        // SmolLM2-Instruct
    {0x384256f70713ca0a, "chatml-qwen2.5"},        // Qwen2.5-Instruct, Qwen2.5-Coder
    {0xc548063e775e147c, "chatml-qwen2.5-first"},  // the same, first weeks
    {0x0aead94f098bbd72, "chatml-qwen2.5-base"},   // Qwen2.5
    {0x209b440c316bea90, "chatml-qwen2.5-base-first"},
    {0x6623e6b3f7bc385a, "chatml-qwen2.5-math"},  // Qwen2.5-Math
    {0xc7e7cd8682b49c58, "chatml-qwen2.5-math-first"},
    {0x22dfa76a05717a88, "chatml-qwq-preview"},     // QwQ-32B-Preview
    {0xf6554afff6e52227, "chatml-qwq"},             // QwQ-32B
    {0x50376d7258991935, "chatml-qwq-prefill"},     // QwQ-32B, later
    {0x79fa97015eff3dfa, "chatml-qwen3-first"},     // Qwen3, first weeks and official GGUF files
    {0x73c57e0493ea5dbe, "chatml-qwen3"},           // Qwen3
    {0xe0df2aeeb484b47e, "chatml-qwen3"},           // Qwen3, later: also takes content that is no string
    {0x151ad9b3de8db124, "chatml-qwen3-instruct"},  // Qwen3-Instruct-2507
    {0x303c3b88faf11e8c, "chatml-qwen3-thinking"},  // Qwen3-Thinking-2507
    {0xd9d01fc1111fd1b2, "chatml-qwen3-coder"},     // Qwen3-Coder
    {0xd44fd47cdee12066, "chatml-qwen3-coder-tools"},
    {0xf4514589486f4ca6, "zephyr"},  // TinyLlama-Chat
    {0x5bcf3c404ac502cc, "llama2"},  // Llama-2-Chat
    {0xb549a574e471c744, "llama2"},  // later: content | trim
};

// Copies of the templates with tools that were edited for other Jinja engines: all the texts and conditions that make the output, and none
// of what would change it. ("\x1f" ends a token of the canonical text.)
constexpr std::string_view kIsUser = "message\x1f.\x1frole\x1f=\x1f=\x1f'user'",
                           kIsAssistant = "message\x1f.\x1frole\x1f=\x1f=\x1f'assistant'",
                           kIsTool = "message\x1f.\x1frole\x1f=\x1f=\x1f'tool'";
struct Markers {
  const char* format;
  std::initializer_list<std::string_view> all, none;
};
const Markers kMarkers[] = {
    {"chatml-qwen3",
     {"'<|im_start|>system\n'", "# Tools\n\nYou may call one or more functions to assist with the user query.", "last_query_index",
      "'\n<tool_response>\n'", "reasoning_content", "enable_thinking", "'<think>\n\n</think>\n\n'", "'<tool_call>\n{\"name\": \"'",
      "'<|im_start|>user'", kIsUser, kIsAssistant, kIsTool, "'<|im_start|>assistant\n'"},
     {"image", "video", "<function=", "strftime_now", "<|im_start|>assistant\n<think>\n", "preserve_thinking", "raise_exception",
      "'<tool_response>'\x1fin"}},
    {"chatml-qwen2.5",
     {"'<|im_start|>system\n'", "'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.'",
      "# Tools\n\nYou may call one or more functions to assist with the user query.", "'\n<tool_response>\n'",
      "'\n<tool_call>\n{\"name\": \"'", "<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>",
      "'<|im_start|>user'", kIsUser, kIsAssistant, kIsTool, "'<|im_start|>assistant\n'"},
     {"image", "video", "<function=", "strftime_now", "<think>", "</think>", "enable_thinking", "raise_exception"}},
};

}  // namespace

const ChatFormat* recognise_chat_template(std::string_view jinja) {
  const std::string text = canonical_template(jinja);
  const uint64_t hash = template_hash(text);
  for (const Known& known : kKnown) {
    if (known.hash == hash) return &chat_format(known.format);
  }
  for (const Markers& markers : kMarkers) {
    bool fits = true;
    for (const std::string_view part : markers.all) fits = fits && text.find(part) != text.npos;
    for (const std::string_view part : markers.none) fits = fits && text.find(part) == text.npos;
    if (fits) return &chat_format(markers.format);
  }
  return nullptr;
}

}  // namespace quern
