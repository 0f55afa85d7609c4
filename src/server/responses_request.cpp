#include "server/responses_request.h"

#include <ctime>
#include <limits>

#include "server/chat_request.h"
#include "server/random_id.h"
#include "server/responses_answer.h"
#include "server/sampling_request.h"
#include "server/tools_request.h"

namespace quern {
namespace {

ApiError unsupported(std::string param, std::string_view what) {
  ApiError error = field_error(std::move(param), "{}", what);
  error.code = "unsupported_value";
  return error;
}

// The items of `input` in OpenAI's chat form: calls and reasoning join the assistant's message before or after them.
class InputReader {
 public:
  std::vector<ChatMessage> read(const RequestFields& fields) {
    if (const auto instructions = fields.text("instructions")) messages_.push_back({.role = "system", .content = *instructions});
    const Json* input = fields.find("input");
    if (input == nullptr) {
      ApiError error = field_error("input", "want a string or an array of items, found nothing");
      error.code = "missing_field";
      throw error;
    }
    if (input->is_string()) {
      messages_.push_back({.role = "user", .content = input->get<std::string>()});
    } else if (input->is_array() && !input->empty() && input->size() <= kMaxChatMessages) {
      for (size_t i = 0; i < input->size(); ++i) read_item(RequestFields((*input)[i], fmt::format("input[{}]", i)), (*input)[i]);
    } else {
      throw field_error("input", "want a string or an array of 1 to {} items, found {}", kMaxChatMessages, found_value(*input));
    }
    return std::move(messages_);
  }

 private:
  void read_item(const RequestFields& item, const Json& json) {
    const std::string type = item.text("type").value_or("message");
    if (type == "message") {
      add(read_chat_messages(Json::array({json}), "input").front());
    } else if (type == "function_call") {
      ChatMessage message{.role = "assistant", .content = ""};
      message.tool_calls.push_back(read_past_call(item));
      add(std::move(message));
    } else if (type == "function_call_output") {
      item.text("call_id");
      const Json* output = item.find("output");
      if (output == nullptr) item.required_text("output");
      messages_.push_back({.role = "tool", .content = read_content(*output, item.path_of("output"))});
    } else if (type == "reasoning") {
      ChatMessage message{.role = "assistant", .content = ""};
      message.has_reasoning = true;
      if (const Json* content = item.array("content", 64)) {
        for (size_t i = 0; i < content->size(); ++i) {
          message.reasoning += RequestFields((*content)[i], fmt::format("{}[{}]", item.path_of("content"), i)).required_text("text");
        }
      }
      add(std::move(message));
    } else {
      throw unsupported(item.path_of("type"), "want message, function_call, function_call_output or reasoning");
    }
  }

  // Neighbours of the assistant are one turn.
  void add(ChatMessage message) {
    const bool joins = message.role == "assistant" && !messages_.empty() && messages_.back().role == "assistant" &&
                       (message.content.empty() || messages_.back().content.empty());
    if (!joins) return messages_.push_back(std::move(message));
    ChatMessage& last = messages_.back();
    last.content += message.content;
    last.reasoning += message.reasoning;
    last.has_reasoning = last.has_reasoning || message.has_reasoning;
    for (ToolCall& call : message.tool_calls) last.tool_calls.push_back(std::move(call));
  }

  std::vector<ChatMessage> messages_;
};

void refuse_state(const RequestFields& fields) {
  for (const char* name : {"previous_response_id", "conversation", "prompt"}) {
    if (fields.has(name)) throw unsupported(name, "responses are not stored; send the whole input");
  }
  if (fields.flag("background") == true) throw unsupported("background", "responses are not stored");
}

std::optional<bool> read_effort(const RequestFields& fields) {
  const auto reasoning = fields.object("reasoning");
  if (!reasoning) return std::nullopt;
  const auto effort = reasoning->text("effort", 64);
  return effort == "none" ? std::optional(false) : std::nullopt;
}

// The members of a response that repeat the request, as JSON text that starts with a comma. Clients' types want all of them.
std::string echo_of(const RequestFields& fields, const SamplingParams& params, const ToolsRequest& tools) {
  const auto given = [&](const char* name, const char* otherwise) {
    const Json* value = fields.find(name);
    return value == nullptr ? std::string(otherwise) : value->dump();
  };
  Json text = fields.has("text") ? *fields.find("text") : Json::object();
  if (!text.contains("format")) text["format"] = {{"type", "text"}};
  if (text["format"].is_object() && text["format"].value("type", "") == "json_schema" && !text["format"].contains("name")) {
    text["format"]["name"] = "answer";
  }
  const std::string max_tokens = params.max_tokens ? fmt::format("{}", *params.max_tokens) : "null";
  return fmt::format(
      R"(,"parallel_tool_calls":{},"tool_choice":{},"tools":{},"temperature":{},"top_p":{},"max_output_tokens":{},)"
      R"("previous_response_id":null,"instructions":{},"metadata":{},"reasoning":{},"store":false,"text":{},"truncation":"disabled")",
      tools.one_call_at_most ? "false" : "true", given("tool_choice", tools.may_call ? R"("auto")" : R"("none")"), given("tools", "[]"),
      params.temperature, params.top_p, max_tokens, given("instructions", "null"), given("metadata", "{}"), given("reasoning", "null"),
      text.dump());
}

}  // namespace

GenerationPlan read_responses_request(std::string_view body, const ServedModel& model) {
  const Json json = parse_request(body);
  const RequestFields fields(json);
  check_model_name(fields, model);
  refuse_state(fields);
  const CommonFields common = read_common(fields);
  GenerationPlan plan;
  plan.params = read_sampling(fields, model);
  if (const auto most = fields.integer("max_output_tokens", 1, std::numeric_limits<int32_t>::max())) plan.params.max_tokens = most;
  check_sampling(plan.params, model);
  const std::vector<ChatMessage> messages = InputReader().read(fields);
  if (model.chat() == nullptr) throw unsupported("input", "this model has no chat format");
  const ToolsRequest tools = read_responses_tools(fields, body);
  ChatOptions chat;
  chat.tools = tools.tools;
  chat.enable_thinking = read_effort(fields);
  const std::vector<PromptPiece> pieces = model.chat()->render(messages, chat);
  plan.prompts.push_back(encode_prompt(model.tokenizer(), pieces));
  plan.masks = read_responses_constraint(fields, body, tools, *model.constraints);
  set_reasoning(plan.params, model, opens_thinking(pieces), read_thinking_budget(fields));
  fit_prompt(plan.prompts[0], plan.params, common, model, "input");
  set_common(plan, common, 1);

  AnswerParserOptions parser = parser_options(model, tools, opens_thinking(pieces), true);
  ResponsesAnswerOptions options{message_options("resp_" + random_id(), common, plan, model, std::move(parser))};
  options.created = std::time(nullptr);
  options.echoed = echo_of(fields, plan.params, tools);
  plan.answer = std::make_unique<ResponsesAnswer>(model, std::move(options));
  plan.ignored_fields = ignored_header(fields);
  return plan;
}

}  // namespace quern
