#include "server/chat_request.h"

#include <algorithm>
#include <ctime>

#include "server/chat_answer.h"
#include "server/random_id.h"

namespace quern {
namespace {

constexpr size_t kMaxIgnoredHeader = 512;

}  // namespace

std::string read_content(const Json& content, const std::string& path) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) throw field_error(path, "want a string or an array of text parts, found {}", found_value(content));
  std::string joined;
  for (size_t i = 0; i < content.size(); ++i) {
    const RequestFields part(content[i], fmt::format("{}[{}]", path, i));
    const std::string type = part.required_text("type");
    if (type != "text" && type != "input_text" && type != "output_text") {
      ApiError error = field_error(part.path_of("type"), "want text, found '{}'; this model reads text only", escaped(type, 60));
      error.code = "unsupported_value";
      throw error;
    }
    joined += part.required_text("text");
  }
  return joined;
}

namespace {

std::string read_role(const RequestFields& message) {
  std::string role = message.required_text("role");
  if (role == "developer") return "system";
  if (role == "function") return "tool";
  if (role == "system" || role == "user" || role == "assistant" || role == "tool") return role;
  throw field_error(message.path_of("role"), "want system, developer, user, assistant or tool, found '{}'", escaped(role, 60));
}

ChatMessage read_message(const Json& json, const std::string& path) {
  const RequestFields message(json, path);
  ChatMessage read{.role = read_role(message), .content = {}};
  if (read.role == "assistant") read.tool_calls = read_past_calls(message);
  const Json* content = message.find("content");
  if (content == nullptr && read.tool_calls.empty()) {
    ApiError error = field_error(message.path_of("content"), "want a string or an array of text parts, found nothing");
    error.code = "missing_field";
    throw error;
  }
  if (content != nullptr) read.content = read_content(*content, message.path_of("content"));
  for (const char* name : {"reasoning_content", "reasoning"}) {
    if (auto reasoning = message.text(name)) read.reasoning = *std::move(reasoning), read.has_reasoning = true;
  }
  return read;
}

std::optional<bool> read_thinking(const RequestFields& fields) {
  std::optional<bool> thinking;
  if (const auto effort = fields.text("reasoning_effort", 64)) {
    static constexpr const char* kEfforts[] = {"none", "minimal", "low", "medium", "high", "xhigh"};
    if (std::ranges::none_of(kEfforts, [&](const char* known) { return *effort == known; })) {
      throw field_error("reasoning_effort", "want none, minimal, low, medium or high, found '{}'", escaped(*effort, 60));
    }
    if (*effort == "none") thinking = false;
  }
  if (const auto kwargs = fields.object("chat_template_kwargs")) {
    for (const char* reserved : {"messages", "tools", "add_generation_prompt", "tokenize"}) {
      if (kwargs->has(reserved)) throw field_error(kwargs->path_of(reserved), "want a key of the chat template, found a reserved name");
    }
    if (const auto flag = kwargs->flag("enable_thinking")) thinking = flag;
  }
  if (const auto flag = fields.flag("enable_thinking")) thinking = flag;
  return thinking;
}

// Takes the end of the last turn off again, so that the answer goes on with that turn.
void open_last_turn(std::vector<PromptPiece>& pieces, const ChatMessage& last) {
  if (last.role != "assistant" || last.content.empty()) {
    throw field_error("continue_final_message", "want a last message of the assistant with content");
  }
  if (!pieces.empty() && !pieces.back().from_user) pieces.pop_back();
}

ApiError without_chat() {
  ApiError error = field_error("messages", "this model has no chat format; /v1/completions takes plain prompts");
  error.code = "unsupported_value";
  return error;
}

// How many likeliest tokens are told beside each; nothing without logprobs.
std::optional<size_t> read_logprobs(const RequestFields& fields) {
  const bool wants = fields.flag("logprobs").value_or(false);
  const auto top = fields.integer("top_logprobs", 0, 20);
  if (top && *top > 0 && !wants) throw field_error("top_logprobs", "want it with logprobs true only");
  if (!wants) return std::nullopt;
  return static_cast<size_t>(top.value_or(0));
}

void refuse_audio(const RequestFields& fields) {
  const Json* modalities = fields.array("modalities", 16);
  if (modalities == nullptr) return;
  for (const Json& modality : *modalities) {
    if (modality != "text") throw field_error("modalities", "want [\"text\"], found {}", found_value(modality));
  }
}

}  // namespace

Json parse_request(std::string_view body) {
  try {
    return parse_json(body, "body", {.max_bytes = body.size(), .max_depth = 64});
  } catch (const Error& error) {
    throw api_error(400, "invalid_request_error", "invalid_json", escaped(error.message(), 300));
  }
}

std::string ignored_header(const RequestFields& fields) {
  std::string names;
  for (const std::string& name : fields.unknown()) {
    if (names.size() > kMaxIgnoredHeader) break;
    names += (names.empty() ? "" : ", ") + escaped(name, 60);
  }
  return names;
}

std::vector<ChatMessage> read_chat_messages(const Json& messages, const std::string& path) {
  if (!messages.is_array() || messages.empty() || messages.size() > kMaxChatMessages) {
    throw field_error(path, "want an array of 1 to {} messages, found {}", kMaxChatMessages, found_value(messages));
  }
  std::vector<ChatMessage> read;
  for (size_t i = 0; i < messages.size(); ++i) read.push_back(read_message(messages[i], fmt::format("{}[{}]", path, i)));
  return read;
}

ChatPrompt read_chat_prompt(const RequestFields& fields, std::string_view text, const ServedModel& model) {
  const Json* messages = fields.find("messages");
  if (messages == nullptr) {
    ApiError error = field_error("messages", "want an array of messages, found nothing");
    error.code = "missing_field";
    throw error;
  }
  const std::vector<ChatMessage> read = read_chat_messages(*messages, "messages");
  if (model.chat() == nullptr) throw without_chat();
  ChatPrompt prompt;
  prompt.tools = read_tools(fields, text);
  ChatOptions options;
  options.enable_thinking = read_thinking(fields);
  if (const auto kwargs = fields.object("chat_template_kwargs")) {
    options.preserves_thinking = kwargs->flag("preserve_thinking").value_or(false);
  }
  options.tools = prompt.tools.tools;
  options.add_generation_prompt = fields.flag("add_generation_prompt").value_or(true);
  const bool continues = fields.flag("continue_final_message").value_or(false);
  if (continues && fields.flag("add_generation_prompt") == true) {
    throw field_error("continue_final_message", "want it without add_generation_prompt");
  }
  if (continues) options.add_generation_prompt = false;

  prompt.pieces = model.chat()->render(read, options);
  if (continues) open_last_turn(prompt.pieces, read.back());
  prompt.starts_in_reasoning = opens_thinking(prompt.pieces);
  return prompt;
}

GenerationPlan read_chat_request(std::string_view body, const ServedModel& model) {
  const Json json = parse_request(body);
  const RequestFields fields(json);
  check_model_name(fields, model);
  const CommonFields common = read_common(fields);
  GenerationPlan plan;
  plan.params = read_sampling(fields, model);
  const std::optional<size_t> logprobs = read_logprobs(fields);
  const std::optional<size_t> prompt_logprobs = read_prompt_logprobs(fields, common);
  if (logprobs) plan.params.logprobs = static_cast<int64_t>(*logprobs);
  if (prompt_logprobs) plan.params.prompt_logprobs = static_cast<int64_t>(*prompt_logprobs);
  check_sampling(plan.params, model);
  refuse_audio(fields);
  refuse_unenforceable(fields);

  const ChatPrompt prompt = read_chat_prompt(fields, body, model);
  plan.prompts.push_back(encode_prompt(model.tokenizer(), prompt.pieces));
  plan.masks = read_constraint(fields, body, prompt.tools, *model.constraints);
  set_reasoning(plan.params, model, prompt.starts_in_reasoning, read_thinking_budget(fields));
  fit_prompt(plan.prompts[0], plan.params, common, model, "messages");
  set_common(plan, common, common.n);

  const bool shows_reasoning = fields.flag("include_reasoning").value_or(true);
  AnswerHead head = {"chatcmpl-" + random_id(), "chat.completion", "chat.completion.chunk", model.name(),
                     model.fingerprint,         std::time(nullptr)};
  ChatAnswerOptions options{choice_options(std::move(head), common, plan, logprobs, prompt_logprobs)};
  options.parser = parser_options(model, prompt.tools, prompt.starts_in_reasoning, shows_reasoning);
  options.num_choices = common.n;
  plan.answer = std::make_unique<ChatAnswer>(model, std::move(options));
  plan.ignored_fields = ignored_header(fields);
  return plan;
}

}  // namespace quern
