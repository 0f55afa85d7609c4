#include "engine/request_json.h"

#include <algorithm>
#include <limits>

#include "base/parse.h"

namespace quern {
namespace {

constexpr const char* kSamplingFields[] = {
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "repeat_penalty",
    "logit_bias",
    "seed",
    "presence_penalty",
    "min_tokens",
    "stop",
    "stop_token_ids",
    "frequency_penalty",
    "max_tokens",
    "n_predict",
    "max_completion_tokens",
    "ignore_eos",
    "logprobs",
    "include_stop_str_in_output",
    "skip_special_tokens",
};

constexpr int64_t kIntMax = std::numeric_limits<int64_t>::max();

std::string found(const Json& value) {
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return fmt::format("{} {}", value.type_name(), escaped(text, 60));
}

int64_t integer(const Json& value, const std::string& where) {
  if (value.is_number_unsigned() && value.get<uint64_t>() <= static_cast<uint64_t>(kIntMax)) return value.get<int64_t>();
  if (value.is_number_integer() && !value.is_number_unsigned()) return value.get<int64_t>();
  raise(invalid_input, "{}: want an integer, found {}", where, found(value));
}

// Calls store with the integer of the first of `names` that is there.
template <class Store>
void read_integer(const JsonFields& fields, std::initializer_list<const char*> names, Store&& store) {
  for (const char* name : names) {
    if (!fields.has(name)) continue;
    store(integer(fields.raw().at(name), fields.where() + ": " + name));
    return;
  }
}

void read_flag(const JsonFields& fields, const char* name, bool& into) { into = fields.flag(name, into); }

void read_number(const JsonFields& fields, std::initializer_list<const char*> names, double& into) {
  if (const std::optional<double> value = fields.optional_number(names)) into = *value;
}

std::vector<std::string> read_stops(const Json& stop, const std::string& where) {
  if (stop.is_string()) return {stop.get<std::string>()};
  if (!stop.is_array() || stop.size() > kMaxStopStrings) {
    raise(invalid_input, "{}: want a text or a list of at most {} texts, found {}", where, kMaxStopStrings, found(stop));
  }
  std::vector<std::string> texts;
  for (const Json& text : stop) {
    if (!text.is_string()) raise(invalid_input, "{}[{}]: want a text, found {}", where, texts.size(), found(text));
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

std::vector<std::pair<TokenId, double>> read_biases(const Json& biases, const std::string& where) {
  if (!biases.is_object() || biases.size() > kMaxLogitBiases) {
    raise(invalid_input, "{}: want an object of at most {} token ids, found {}", where, kMaxLogitBiases, found(biases));
  }
  std::vector<std::pair<TokenId, double>> read;
  for (const auto& [key, value] : biases.items()) {
    const std::optional<TokenId> id = parse_number<TokenId>(key, 0, std::numeric_limits<TokenId>::max());
    if (!id) raise(invalid_input, "{}: want token ids as keys, found '{}'", where, escaped(key, 60));
    if (!value.is_number()) raise(invalid_input, "{}[{}]: want a number, found {}", where, *id, found(value));
    read.emplace_back(*id, value.get<double>());
  }
  std::ranges::sort(read);
  return read;
}

std::string read_content(const Json& content, const std::string& where) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) raise(invalid_input, "{}: want a text or a list of text parts, found {}", where, found(content));
  std::string joined;
  size_t i = 0;
  for (const Json& part : content) {
    const JsonFields fields(part, fmt::format("{}[{}]", where, i++));
    const std::string type = fields.text({"type"});
    if (type != "text") raise(invalid_input, "{}.type: want text, found '{}'", fields.where(), escaped(type, 60));
    joined += fields.text({"text"});
  }
  return joined;
}

std::vector<ToolCall> read_tool_calls(const Json& calls, const std::string& where) {
  if (!calls.is_array()) raise(invalid_input, "{}: want a list, found {}", where, found(calls));
  std::vector<ToolCall> read;
  for (const Json& call : calls) {
    const JsonFields fields(call, fmt::format("{}[{}]", where, read.size()));
    const std::optional<JsonFields> function = fields.optional_object("function");
    const JsonFields& body = function ? *function : fields;
    const OrderedJson arguments = body.has("arguments") ? OrderedJson(body.raw().at("arguments")) : OrderedJson::object();
    if (!arguments.is_object() && !arguments.is_string()) {
      raise(invalid_input, "{}.arguments: want an object or its text, found {}", body.where(), found(body.raw().at("arguments")));
    }
    read.push_back({body.text({"name"}), arguments});
  }
  return read;
}

std::string read_role(const JsonFields& fields) {
  std::string role = fields.text({"role"});
  if (role == "developer") return "system";
  if (role == "function") return "tool";
  if (role == "system" || role == "user" || role == "assistant" || role == "tool") return role;
  raise(invalid_input, "{}.role: want system, user, assistant or tool, found '{}'", fields.where(), escaped(role, 60));
}

ChatMessage read_message(const Json& message, const std::string& where) {
  const JsonFields fields(message, where);
  ChatMessage read{.role = read_role(fields), .content = {}};
  const bool calls_tools = read.role == "assistant" && fields.has("tool_calls");
  if (calls_tools) read.tool_calls = read_tool_calls(message.at("tool_calls"), where + ".tool_calls");
  if (fields.has("content") || read.tool_calls.empty()) {
    if (!fields.has("content")) raise(invalid_input, "{}.content: want a text, found nothing", where);
    read.content = read_content(message.at("content"), where + ".content");
  }
  if (const std::optional<std::string> reasoning = fields.optional_text({"reasoning", "reasoning_content"})) {
    read.reasoning = *reasoning;
    read.has_reasoning = true;
  }
  return read;
}

}  // namespace

void read_sampling_fields(const JsonFields& fields, SamplingParams& params) {
  read_number(fields, {"temperature"}, params.temperature);
  read_number(fields, {"top_p"}, params.top_p);
  read_integer(fields, {"top_k"}, [&](int64_t k) { params.top_k = k; });
  read_number(fields, {"min_p"}, params.min_p);
  read_number(fields, {"repetition_penalty", "repeat_penalty"}, params.repetition_penalty);
  read_number(fields, {"presence_penalty"}, params.presence_penalty);
  read_number(fields, {"frequency_penalty"}, params.frequency_penalty);
  read_integer(fields, {"seed"}, [&](int64_t seed) { params.seed = seed; });
  read_integer(fields, {"max_completion_tokens", "max_tokens", "n_predict"}, [&](int64_t count) { params.max_tokens = count; });
  read_integer(fields, {"min_tokens"}, [&](int64_t count) { params.min_tokens = count; });
  read_integer(fields, {"logprobs"}, [&](int64_t count) { params.logprobs = count; });
  read_flag(fields, "ignore_eos", params.ignore_eos);
  read_flag(fields, "include_stop_str_in_output", params.include_stop_str_in_output);
  read_flag(fields, "skip_special_tokens", params.skip_special_tokens);
  if (fields.has("stop")) params.stop = read_stops(fields.raw().at("stop"), fields.where() + ": stop");
  if (fields.has("stop_token_ids")) params.stop_token_ids = fields.optional_ids("stop_token_ids");
  if (fields.has("logit_bias")) params.logit_bias = read_biases(fields.raw().at("logit_bias"), fields.where() + ": logit_bias");
}

bool is_sampling_field(const std::string& name) {
  return std::ranges::any_of(kSamplingFields, [&](const char* known) { return name == known; });
}

std::vector<ChatMessage> read_messages(const Json& messages, const std::string& where) {
  if (!messages.is_array() || messages.empty() || messages.size() > kMaxMessages) {
    raise(invalid_input, "{}: want a list of 1 to {} messages, found {}", where, kMaxMessages, found(messages));
  }
  std::vector<ChatMessage> read;
  for (const Json& message : messages) read.push_back(read_message(message, fmt::format("{}[{}]", where, read.size())));
  return read;
}

std::vector<TokenId> read_token_ids(const Json& ids, const std::string& where) {
  if (!ids.is_array() || ids.empty()) raise(invalid_input, "{}: want a list of token ids, found {}", where, found(ids));
  std::vector<TokenId> read;
  read.reserve(ids.size());
  for (const Json& id : ids) {
    const int64_t value = integer(id, fmt::format("{}[{}]", where, read.size()));
    if (value < 0 || value > std::numeric_limits<TokenId>::max()) {
      raise(invalid_input, "{}[{}]: want a token id, found {}", where, read.size(), value);
    }
    read.push_back(static_cast<TokenId>(value));
  }
  return read;
}

}  // namespace quern
