// An answer's text, as it comes, into reasoning, content and tool calls. What may still be the start of a tag is held back, so that the
// parts, joined, do not depend on how the text was cut. One answer's; one thread.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/call_text.h"

namespace quern {

struct AnswerPart {
  enum class Kind { reasoning, content, tool_name, tool_arguments };
  Kind kind;
  std::string text;
  size_t tool_index = 0;  // of the call, from 0
};

struct AnswerParserOptions {
  bool starts_in_reasoning = false;  // the prompt opened it
  bool parses_reasoning = false;
  bool parses_tools = false;
  bool one_call_at_most = false;  // later calls are dropped
  CallDialect dialect = CallDialect::json;
  std::shared_ptr<const CallSchemas> schemas = {};  // of the tools, for the XML dialect
};

class AnswerParser {
 public:
  explicit AnswerParser(const AnswerParserOptions& options);

  // Appends to `parts` what `text` makes certain; neighbours of one kind are joined.
  void push(std::string_view text, std::vector<AnswerPart>& parts);
  // The end of the answer.
  void finish(std::vector<AnswerPart>& parts);

  bool is_reasoning() const { return state_ == State::reasoning; }
  size_t num_tool_calls() const { return num_calls_; }

 private:
  enum class State { start, reasoning, after_reasoning, content, call, after_call };
  struct Cut {
    size_t certain;  // bytes before the tag, or before what may be its start
    bool is_found;
  };
  static Cut find_tag(std::string_view text, std::string_view tag);
  Cut find_call(std::string_view text) const;

  bool step(std::vector<AnswerPart>& parts, bool at_end);
  bool step_start(bool at_end);
  bool step_reasoning(std::vector<AnswerPart>& parts, bool at_end);
  bool step_content(std::vector<AnswerPart>& parts, bool at_end);
  bool step_call(std::vector<AnswerPart>& parts);
  bool step_after_call(bool at_end);
  void end_call(std::vector<AnswerPart>& parts);
  void emit(std::vector<AnswerPart>& parts, AnswerPart::Kind kind, std::string_view text);
  // Holds back white space at the end of `text`, which is dropped before a tag.
  void emit_but_trailing_space(std::vector<AnswerPart>& parts, AnswerPart::Kind kind, std::string_view text);

  AnswerParserOptions options_;
  State state_;
  std::string pending_;     // not yet understood
  std::string held_space_;  // white space that goes out only when text of the same kind follows
  bool is_first_reasoning_ = true;
  std::unique_ptr<CallText> call_;  // null: none is being read
  std::string_view call_tag_;       // that opened it
  bool call_is_open_ = false;       // its name went out
  bool has_content_ = false;        // since the last call, besides white space
  bool call_is_dropped_ = false;
  size_t num_calls_ = 0;
};

}  // namespace quern
