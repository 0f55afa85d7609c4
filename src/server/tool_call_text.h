// The body of one tool call in the Hermes dialect, {"name": ..., "arguments": {...}}, character by character: the arguments are handed on
// as they come once the name is known. Owned by AnswerParser; one thread. Linear in the body's length.
#pragma once
#include <optional>
#include <string>

namespace quern {

class ToolCallText {
 public:
  static constexpr size_t kMaxBytes = size_t{128} << 10;  // of a body

  // Takes one character. False when the body cannot be a call (only before the name is known) or is over the limit.
  bool push(char c);
  // The whole object was read; what follows belongs to the closing tag.
  bool is_complete() const { return state_ == State::done; }
  // Once known.
  const std::optional<std::string>& name() const { return name_; }
  // Arguments that were not handed out yet. Nothing before the name is known.
  std::string take_arguments();
  // At the end of the answer, or of the call: arguments that are still missing ("{}").
  std::string finish_arguments();
  // Everything that was pushed.
  const std::string& body() const { return body_; }

 private:
  enum class State { open, key, key_text, colon, value, string_value, nested, scalar, after_value, done };
  bool begin_value(char c);
  void end_value();
  bool is_arguments() const { return key_ == "arguments" || key_ == "parameters"; }

  State state_ = State::open;
  std::string body_, key_, value_;
  size_t depth_ = 0;
  bool in_string_ = false, is_escape_ = false;
  std::optional<std::string> name_;
  std::string arguments_;       // not handed out yet
  bool has_arguments_ = false;  // at least one byte of them was seen
};

}  // namespace quern
