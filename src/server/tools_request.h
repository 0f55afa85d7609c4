// Tools of a request, past calls in its history, and formats of the answer. Stateless.
#pragma once
#include <string_view>
#include <vector>

#include "server/request_fields.h"
#include "text/chat_format.h"

namespace quern {

struct ToolsRequest {
  std::vector<OrderedJson> tools;  // as the chat format prints them
  bool may_call = false;           // the answer is searched for calls
};

// tools, tool_choice, and the old functions and function_call. `text` is the body that `fields` were read from.
ToolsRequest read_tools(const RequestFields& fields, std::string_view text);

// tool_calls, or the old function_call, of an assistant's message.
std::vector<ToolCall> read_past_calls(const RequestFields& message);

// Throws 400 for a response_format, or another way to constrain the answer, that would not be kept.
void refuse_unenforceable_format(const RequestFields& fields);

}  // namespace quern
