// The body of one tool call, character by character, in one of the dialects of Qwen's models: the arguments are handed on as JSON text as
// they come, once the name is known. Owned by AnswerParser; one thread. Linear in the body's length.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/json.h"

namespace quern {

enum class CallDialect {
  json,  // {"name": ..., "arguments": {...}}: Qwen2.5, Qwen3
  xml,   // <function=NAME><parameter=KEY>value</parameter></function>: Qwen3-Coder
};

// The parameters of each function, as JSON schemas, by its name: what an XML value's type is read from.
using CallSchemas = std::map<std::string, OrderedJson, std::less<>>;

class CallText {
 public:
  static constexpr size_t kMaxBytes = size_t{128} << 10;  // of a body

  virtual ~CallText() = default;

  // Takes one character. False when the body cannot be a call (only before the name is known) or is over the limit.
  virtual bool push(char c) = 0;
  // The whole call was read; what follows belongs to the closing tag.
  virtual bool is_complete() const = 0;
  // Arguments that were not handed out yet. Nothing before the name is known.
  virtual std::string take_arguments() = 0;
  // At the end of the answer, or of the call: arguments that are still missing ("{}").
  virtual std::string finish_arguments() = 0;

  // Once known.
  const std::optional<std::string>& name() const { return name_; }
  // Everything that was pushed.
  const std::string& body() const { return body_; }

 protected:
  std::string body_;
  std::optional<std::string> name_;
};

std::unique_ptr<CallText> new_call_text(CallDialect dialect, std::shared_ptr<const CallSchemas> schemas);

}  // namespace quern
