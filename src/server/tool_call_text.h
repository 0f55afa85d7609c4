// The body of one tool call in the Hermes dialect, {"name": ..., "arguments": {...}}, character by character: the arguments are handed on
// as they come once the name is known. Owned by AnswerParser; one thread. Linear in the body's length.
#pragma once
#include "server/call_text.h"

namespace quern {

class ToolCallText : public CallText {
 public:
  bool push(char c) override;
  bool is_complete() const override { return state_ == State::done; }
  std::string take_arguments() override;
  std::string finish_arguments() override;

 private:
  enum class State { open, key, key_text, colon, value, string_value, nested, scalar, after_value, done };
  bool begin_value(char c);
  void end_value();
  bool is_arguments() const { return key_ == "arguments" || key_ == "parameters"; }

  State state_ = State::open;
  std::string key_, value_;
  size_t depth_ = 0;
  bool in_string_ = false, is_escape_ = false;
  std::string arguments_;       // not handed out yet
  bool has_arguments_ = false;  // at least one byte of them was seen
};

}  // namespace quern
