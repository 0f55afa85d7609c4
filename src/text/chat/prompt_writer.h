// Builds a prompt's pieces; neighbours of one kind become one piece. One render call's.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/chat_format.h"

namespace quern {

class PromptWriter {
 public:
  // What the format wrote itself.
  PromptWriter& format(std::string_view text) { return add(text, false); }
  // What came from a message or a tool.
  PromptWriter& user(std::string_view text) { return add(text, true); }
  // The next piece is encoded on its own, not joined with what stands before it.
  PromptWriter& apart() {
    apart_ = true;
    return *this;
  }
  std::vector<PromptPiece> take() { return std::move(pieces_); }

 private:
  PromptWriter& add(std::string_view text, bool from_user) {
    if (text.empty()) return *this;
    if (apart_ || pieces_.empty() || pieces_.back().from_user != from_user) {
      pieces_.push_back({std::string(text), from_user, apart_});
    } else {
      pieces_.back().text += text;
    }
    apart_ = false;
    return *this;
  }

  std::vector<PromptPiece> pieces_;
  bool apart_ = false;
};

// Throws invalid_input when a role is none of system, user, assistant and tool, or when `messages` is empty.
void check_roles(std::span<const ChatMessage> messages, const char* format);

// For formats without tools: throws invalid_input when there are tools, tool messages or tool calls, which would be lost in silence.
void refuse_tools(std::span<const ChatMessage> messages, const ChatOptions& options, const char* format);

}  // namespace quern
