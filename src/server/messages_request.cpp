#include "server/messages_request.h"

#include <algorithm>
#include <limits>

#include "server/chat_request.h"
#include "server/messages_answer.h"
#include "server/random_id.h"
#include "server/sampling_request.h"
#include "server/tools_request.h"

namespace quern {
namespace {

ApiError missing(const std::string& path, const char* what) {
  ApiError error = field_error(path, "want {}, found nothing", what);
  error.code = "missing_field";
  return error;
}

// A string, or text blocks that are joined.
std::string read_text_blocks(const Json& value, const std::string& path) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) throw field_error(path, "want a string or an array of text blocks, found {}", found_value(value));
  std::string joined;
  for (size_t i = 0; i < value.size(); ++i) {
    const RequestFields block(value[i], fmt::format("{}[{}]", path, i));
    if (const std::string type = block.required_text("type"); type != "text") {
      throw field_error(block.path_of("type"), "want text, found '{}'; this model reads text only", escaped(type, 60));
    }
    joined += block.required_text("text");
  }
  return joined;
}

// One message of blocks becomes results of tools, each a message, and the text beside them.
class MessageReader {
 public:
  explicit MessageReader(std::vector<ChatMessage>& out) : out_(out) {}

  void read(const Json& json, const std::string& path) {
    const RequestFields message(json, path);
    const std::string role = message.required_text("role");
    if (role != "user" && role != "assistant")
      throw field_error(message.path_of("role"), "want user or assistant, found '{}'", escaped(role, 60));
    const Json* content = message.find("content");
    if (content == nullptr) throw missing(message.path_of("content"), "a string or an array of blocks");
    message_ = {.role = role, .content = {}};
    has_text_ = content->is_string();
    if (content->is_string()) {
      message_.content = content->get<std::string>();
    } else if (content->is_array()) {
      for (size_t i = 0; i < content->size(); ++i)
        read_block(RequestFields((*content)[i], fmt::format("{}[{}]", message.path_of("content"), i)));
    } else {
      throw field_error(message.path_of("content"), "want a string or an array of blocks, found {}", found_value(*content));
    }
    if (has_text_ || !message_.tool_calls.empty() || message_.has_reasoning) out_.push_back(message_);
  }

 private:
  void read_block(const RequestFields& block) {
    const std::string type = block.required_text("type");
    const bool is_assistant = message_.role == "assistant";
    if (type == "text") {
      message_.content += block.required_text("text");
      has_text_ = true;
    } else if (type == "tool_result" && !is_assistant) {
      block.text("tool_use_id");
      const Json* content = block.find("content");
      out_.push_back({.role = "tool", .content = content == nullptr ? "" : read_text_blocks(*content, block.path_of("content"))});
    } else if (type == "tool_use" && is_assistant) {
      const auto input = block.object("input");
      message_.tool_calls.push_back({block.required_text("name"), input ? OrderedJson(*block.find("input")) : OrderedJson::object()});
    } else if (type == "thinking" && is_assistant) {
      message_.reasoning += block.required_text("thinking");
      message_.has_reasoning = true;
    } else if (type != "redacted_thinking" || !is_assistant) {
      ApiError error = field_error(block.path_of("type"), "want a block of text or tools for this role, found '{}'", escaped(type, 60));
      error.code = "unsupported_value";
      throw error;
    }
  }

  std::vector<ChatMessage>& out_;
  ChatMessage message_;
  bool has_text_ = false;
};

std::vector<ChatMessage> read_conversation(const RequestFields& fields) {
  std::vector<ChatMessage> messages;
  if (const Json* system = fields.find("system")) messages.push_back({.role = "system", .content = read_text_blocks(*system, "system")});
  const Json* list = fields.array("messages", kMaxChatMessages);
  if (list == nullptr) throw missing("messages", "an array of messages");
  if (list->empty()) throw field_error("messages", "want at least 1 message, found none");
  MessageReader reader(messages);
  for (size_t i = 0; i < list->size(); ++i) reader.read((*list)[i], fmt::format("messages[{}]", i));
  return messages;
}

struct MessagesPrompt {
  std::vector<PromptPiece> pieces;
  ToolsRequest tools;
  std::optional<size_t> thinking_budget = {};
};

MessagesPrompt render(const RequestFields& fields, std::string_view body, const ServedModel& model) {
  const std::vector<ChatMessage> messages = read_conversation(fields);
  if (model.chat() == nullptr) throw field_error("messages", "this model has no chat format");
  ChatOptions options;
  std::optional<size_t> budget;
  if (const auto thinking = fields.object("thinking")) {
    const std::string type = thinking->required_text("type");
    if (type != "enabled" && type != "disabled" && type != "adaptive") {
      throw field_error("thinking.type", "want enabled, disabled or adaptive, found '{}'", escaped(type, 60));
    }
    if (const auto tokens = thinking->integer("budget_tokens", 1024, std::numeric_limits<int32_t>::max()))
      budget = static_cast<size_t>(*tokens);
    options.enable_thinking = type != "disabled";
  }
  ToolsRequest tools = read_messages_tools(fields, body);
  options.tools = tools.tools;
  return {model.chat()->render(messages, options), std::move(tools), budget};
}

}  // namespace

GenerationPlan read_messages_request(std::string_view body, const ServedModel& model) {
  const Json json = parse_request(body);
  const RequestFields fields(json);
  check_model_name(fields, model);
  if (!fields.has("max_tokens")) throw missing("max_tokens", "the most tokens of the answer");
  const CommonFields common = read_common(fields);
  GenerationPlan plan;
  plan.params = read_sampling(fields, model);
  if (const auto temperature = fields.number("temperature"); temperature && *temperature > 1) {
    throw field_error("temperature", "want 0 to 1, found {}", *temperature);
  }
  if (const Json* stops = fields.array("stop_sequences", kMaxStopStrings)) {
    for (const Json& stop : *stops) {
      if (!stop.is_string()) throw field_error("stop_sequences", "want strings, found {}", found_value(stop));
      plan.params.stop.push_back(stop.get<std::string>());
    }
  }
  check_sampling(plan.params, model);
  const MessagesPrompt prompt = render(fields, body, model);
  plan.prompts.push_back(encode_prompt(model.tokenizer(), prompt.pieces));
  plan.masks = tools_constraint(prompt.tools, *model.constraints);
  set_reasoning(plan.params, model, opens_thinking(prompt.pieces), prompt.thinking_budget);
  fit_prompt(plan.prompts[0], plan.params, common, model, "messages");
  set_common(plan, common, 1);

  AnswerParserOptions parser = parser_options(model, prompt.tools, opens_thinking(prompt.pieces), true);
  plan.answer =
      std::make_unique<MessagesAnswer>(message_options("msg_" + random_id().substr(0, 24), common, plan, model, std::move(parser)));
  plan.ignored_fields = ignored_header(fields);
  return plan;
}

HttpReply answer_count_tokens(const HttpRequest& request, const ServedModel& model) {
  const Json json = parse_request(request.body);
  const RequestFields fields(json);
  check_model_name(fields, model);
  const MessagesPrompt prompt = render(fields, request.body, model);
  return {.body = fmt::format(R"({{"input_tokens":{}}})", encode_prompt(model.tokenizer(), prompt.pieces).size())};
}

}  // namespace quern
