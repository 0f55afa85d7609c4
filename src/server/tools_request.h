// Tools of a request, past calls in its history, and formats of the answer. Stateless.
#pragma once
#include <string_view>
#include <vector>

#include "server/answer_parser.h"
#include "server/request_fields.h"
#include "server/served_model.h"
#include "text/chat_format.h"

namespace quern {

struct ToolsRequest {
  std::vector<OrderedJson> tools;   // as the chat format prints them
  bool may_call = false;            // the answer is searched for calls
  std::vector<OrderedJson> forced;  // functions of which one must be called; none: the model decides
  bool one_call_at_most = false;
};

// How an answer's text is read: the model's own dialect of calls, unless the server was told another.
AnswerParserOptions parser_options(const ServedModel& model, const ToolsRequest& tools, bool starts_in_reasoning, bool shows_reasoning);

// tools, tool_choice, and the old functions and function_call. `text` is the body that `fields` were read from.
ToolsRequest read_tools(const RequestFields& fields, std::string_view text);

// The same for /v1/responses, whose tools are flat: {type, name, description, parameters}.
ToolsRequest read_responses_tools(const RequestFields& fields, std::string_view text);

// The same for /v1/messages: {name, description, input_schema}.
ToolsRequest read_messages_tools(const RequestFields& fields, std::string_view text);

// tool_calls, or the old function_call, of an assistant's message.
std::vector<ToolCall> read_past_calls(const RequestFields& message);

// One call: {name, arguments}, the arguments being JSON text.
ToolCall read_past_call(const RequestFields& function);

// Throws 400 for ways to constrain an answer that would not be kept.
void refuse_unenforceable(const RequestFields& fields);
ApiError not_enforced(std::string param, std::string_view what);

// The outermost object's member `name`, which was parsed as `value`, with its keys in their order.
OrderedJson ordered_member(const Json& value, std::string_view text, const char* name);
// 1 to 64 of A-Z, a-z, 0-9, _ and -.
bool is_tool_name(std::string_view name);

}  // namespace quern
