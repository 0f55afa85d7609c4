// What the ChatML formats share: turns, Qwen's tool texts and tool turns. Stateless.
#pragma once
#include <string_view>

#include "text/chat/prompt_writer.h"

namespace quern {

// "<|im_start|>role\n": roles are checked words, so they count as the format's own text.
void open_turn(PromptWriter& out, std::string_view role);
// A whole turn: header, content, "<|im_end|>\n".
void write_turn(PromptWriter& out, std::string_view role, std::string_view content);

// A loop over messages with nothing else: the formats without tools. `default_system`: text of a system turn in front when the first
// message is none; "" for no such turn.
std::vector<PromptPiece> render_turns(std::span<const ChatMessage> messages, const ChatOptions& options, std::string_view default_system,
                                      const char* format);

// "# Tools ..." with the tools, and the end of the system turn. `twice` doubles the braces of the example, as the first templates of
// Qwen2.5 did.
void write_tools(PromptWriter& out, const std::vector<OrderedJson>& tools, bool twice);

// One tool message: neighbours share one user turn.
void write_tool_result(PromptWriter& out, std::span<const ChatMessage> messages, size_t i);

// Tokens that end an answer in every ChatML format of Qwen; the vocabulary's eos alone does not name them all.
std::vector<std::string> chatml_stops();

}  // namespace quern
