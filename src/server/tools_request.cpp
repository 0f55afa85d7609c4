#include "server/tools_request.h"

#include <algorithm>

namespace quern {
namespace {

constexpr size_t kMaxTools = 128, kMaxNameBytes = 64;
// Reading an object of n keys in their order takes n * n / 2 comparisons; a request may cost this many.
constexpr size_t kMaxOrderCost = 50'000'000;

}  // namespace

bool is_tool_name(std::string_view name) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= kMaxNameBytes && std::ranges::all_of(name, is_letter);
}

namespace {

// The value of the outermost object's member `name`, as it is written. `text` is JSON that was parsed before.
std::string_view member_text(std::string_view text, std::string_view name) {
  size_t depth = 0, begin = text.npos;
  bool is_key = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      const size_t open = i++;
      for (; text[i] != '"'; ++i) i += text[i] == '\\' ? 1 : 0;
      const bool matches = depth == 1 && is_key && text.substr(open + 1, i - open - 1) == name;
      if (matches) begin = text.find(':', i) + 1;
      if (depth == 1) is_key = false;
    } else if (c == '{' || c == '[') {
      is_key = ++depth == 1;
    } else if (c == '}' || c == ']' || (c == ',' && depth == 1)) {
      if (depth == 1 && begin != text.npos) return text.substr(begin, i - begin);
      is_key = c == ',';
      depth -= c == ',' ? 0 : 1;
    }
  }
  return "null";  // the key is written with escapes: no tools in their order
}

// Depth is bounded by the limits of parsing.
size_t order_cost(const Json& value) {
  if (!value.is_structured()) return 0;
  size_t cost = value.is_object() ? value.size() * value.size() : 0;
  for (const Json& child : value) cost += order_cost(child);
  return cost;
}

}  // namespace

OrderedJson ordered_member(const Json& value, std::string_view text, const char* name) {
  if (order_cost(value) > kMaxOrderCost) throw field_error(name, "want objects with fewer keys");
  OrderedJson ordered = parse_ordered_json(member_text(text, name), name);
  if (ordered.is_null()) throw field_error(name, "want the name of this field without escapes");
  return ordered;
}

ApiError not_enforced(std::string param, std::string_view what) {
  ApiError error = field_error(std::move(param), "{} is not supported: the answer could not be held to it", what);
  error.code = "unsupported_value";
  return error;
}

namespace {

std::string read_function(const RequestFields& function) {
  std::string name = function.required_text("name");
  if (!is_tool_name(name)) {
    throw field_error(function.path_of("name"), "want 1 to {} of A-Z, a-z, 0-9, _ and -, found '{}'", kMaxNameBytes, escaped(name, 80));
  }
  function.text("description");
  function.object("parameters");
  function.flag("strict");
  return name;
}

struct Choice {
  bool may_call = true, must_call = false;
  std::string name;  // of the one tool that must be called
};

Choice named(std::string name, const std::string& path, const std::vector<std::string>& names) {
  if (std::ranges::find(names, name) == names.end()) throw field_error(path, "want one of the tools, found '{}'", escaped(name, 80));
  return {.must_call = true, .name = std::move(name)};
}

// What tool_choice or function_call says.
Choice read_choice(const Json& choice, const std::string& path, const std::vector<std::string>& names) {
  if (choice.is_string()) {
    const std::string text = choice.get<std::string>();
    if (text != "auto" && text != "none" && text != "required") {
      throw field_error(path, "want none, auto, required or a tool, found '{}'", escaped(text, 60));
    }
    return {.may_call = text != "none", .must_call = text == "required", .name = {}};
  }
  const RequestFields fields(choice, path);
  const auto function = fields.object("function");
  return named(function ? function->required_text("name") : fields.required_text("name"), path, names);
}

// Anthropic's tool_choice.
std::string messages_choice_type(const RequestFields& choice) {
  std::string type = choice.required_text("type");
  choice.flag("disable_parallel_tool_use");
  if (type == "auto" || type == "any" || type == "tool" || type == "none") return type;
  throw field_error("tool_choice.type", "want auto, any, tool or none, found '{}'", escaped(type, 60));
}

Choice read_messages_choice(const RequestFields& choice, const std::vector<std::string>& names) {
  const std::string type = messages_choice_type(choice);
  if (type == "tool") return named(choice.required_text("name"), "tool_choice.name", names);
  return {.may_call = type != "none", .must_call = type == "any", .name = {}};
}

void force(ToolsRequest& request, const Choice& choice) {
  if (!choice.must_call) return;
  for (const OrderedJson& tool : request.tools) {
    const OrderedJson& function = tool.at("function");
    if (choice.name.empty() || function.at("name") == choice.name) request.forced.push_back(function);
  }
}

enum class ToolForm { nested, flat, old_functions };

// The list `name` with its choice.
ToolsRequest read_tool_list(const RequestFields& fields, std::string_view text, const char* name, const char* choice_name, ToolForm form) {
  ToolsRequest request;
  const Json* list = fields.array(name, kMaxTools);
  std::vector<std::string> names;
  for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
    const RequestFields entry((*list)[i], fmt::format("{}[{}]", name, i));
    if (form != ToolForm::old_functions) {
      const std::string type = entry.required_text("type");
      if (type != "function") throw field_error(entry.path_of("type"), "want function, found '{}'", escaped(type, 60));
    }
    const auto function = form == ToolForm::nested ? entry.object("function") : std::optional(entry);
    if (!function) throw field_error(entry.path_of("function"), "want an object, found nothing");
    names.push_back(read_function(*function));
  }
  const Json* choice = fields.find(choice_name);
  if (choice != nullptr && names.empty() && *choice != "none" && *choice != "auto") throw field_error(choice_name, "want tools beside it");
  const Choice chosen = choice == nullptr || names.empty() ? Choice{} : read_choice(*choice, choice_name, names);
  request.may_call = !names.empty() && chosen.may_call;
  request.one_call_at_most = !fields.flag("parallel_tool_calls").value_or(true);
  if (!request.may_call) return request;

  const OrderedJson ordered = ordered_member(*list, text, name);
  for (const OrderedJson& tool : ordered) {
    if (form == ToolForm::nested) {
      request.tools.push_back(tool);
      continue;
    }
    OrderedJson function = tool;
    if (form == ToolForm::flat) function.erase("type");
    request.tools.push_back({{"type", "function"}, {"function", function}});
  }
  force(request, chosen);
  return request;
}

}  // namespace

AnswerParserOptions parser_options(const ServedModel& model, const ToolsRequest& tools, bool starts_in_reasoning, bool shows_reasoning) {
  AnswerParserOptions options{.starts_in_reasoning = starts_in_reasoning && shows_reasoning,
                              .parses_reasoning = model.chat()->thinks && shows_reasoning,
                              .parses_tools = tools.may_call,
                              .one_call_at_most = tools.one_call_at_most,
                              .dialect = model.call_dialect()};
  if (options.dialect != CallDialect::xml) return options;
  const auto schemas = std::make_shared<CallSchemas>();
  for (const OrderedJson& tool : tools.tools) {
    const OrderedJson& function = tool.at("function");
    (*schemas)[function.at("name").get<std::string>()] = function.value("parameters", OrderedJson::object());
  }
  options.schemas = schemas;
  return options;
}

ToolsRequest read_tools(const RequestFields& fields, std::string_view text) {
  if (!fields.has("functions")) return read_tool_list(fields, text, "tools", "tool_choice", ToolForm::nested);
  if (fields.has("tools")) throw field_error("functions", "want tools or functions, found both");
  return read_tool_list(fields, text, "functions", "function_call", ToolForm::old_functions);
}

ToolsRequest read_responses_tools(const RequestFields& fields, std::string_view text) {
  return read_tool_list(fields, text, "tools", "tool_choice", ToolForm::flat);
}

ToolsRequest read_messages_tools(const RequestFields& fields, std::string_view text) {
  ToolsRequest request;
  const Json* list = fields.array("tools", kMaxTools);
  const auto choice = fields.object("tool_choice");
  std::vector<std::string> names;
  if (list == nullptr || list->empty()) {
    const std::string type = choice ? messages_choice_type(*choice) : "auto";
    if (type != "auto" && type != "none") throw field_error("tool_choice", "want tools beside it");
    return request;
  }
  const OrderedJson ordered = ordered_member(*list, text, "tools");
  for (size_t i = 0; i < list->size(); ++i) {
    const RequestFields tool((*list)[i], fmt::format("tools[{}]", i));
    OrderedJson function;
    function["name"] = names.emplace_back(read_function(tool));
    if (const auto description = tool.text("description")) function["description"] = *description;
    if (tool.object("input_schema")) function["parameters"] = ordered[i].at("input_schema");
    request.tools.push_back({{"type", "function"}, {"function", function}});
  }
  const Choice chosen = choice ? read_messages_choice(*choice, names) : Choice{};
  request.may_call = chosen.may_call;
  request.one_call_at_most = choice && choice->flag("disable_parallel_tool_use").value_or(false);
  if (!request.may_call) request.tools.clear();
  force(request, chosen);
  return request;
}

ToolCall read_past_call(const RequestFields& function) {
  ToolCall call{function.required_text("name"), OrderedJson::object()};
  const Json* arguments = function.find("arguments");
  if (arguments == nullptr) return call;
  const std::string path = function.path_of("arguments");
  if (!arguments->is_string() && !arguments->is_object()) throw field_error(path, "want JSON text, found {}", found_value(*arguments));
  const std::string text = arguments->is_string() ? arguments->get<std::string>() : arguments->dump();
  if (text.find_first_not_of(" \n\r\t") == text.npos) return call;
  Json parsed;
  try {
    parsed = parse_json(text, path);
  } catch (const Error& error) {
    throw field_error(path, "want JSON text: {}", escaped(error.message(), 200));
  }
  if (!parsed.is_object()) throw field_error(path, "want the text of a JSON object, found {}", found_value(parsed));
  if (order_cost(parsed) > kMaxOrderCost) throw field_error(path, "want objects with fewer keys");
  call.arguments = parse_ordered_json(text, path);
  return call;
}

std::vector<ToolCall> read_past_calls(const RequestFields& message) {
  std::vector<ToolCall> calls;
  if (const Json* list = message.array("tool_calls", kMaxTools)) {
    for (const Json& entry : *list) {
      const RequestFields call(entry, fmt::format("{}[{}]", message.path_of("tool_calls"), calls.size()));
      const auto function = call.object("function");
      if (!function) throw field_error(call.path_of("function"), "want an object, found nothing");
      calls.push_back(read_past_call(*function));
    }
  }
  if (const auto function = message.object("function_call")) calls.push_back(read_past_call(*function));
  return calls;
}

void refuse_unenforceable(const RequestFields& fields) {
  for (const char* name : {"use_beam_search", "logits_processors"}) {
    const Json* value = fields.find(name);
    if (value != nullptr && *value != false) throw not_enforced(name, name);
  }
}

}  // namespace quern
