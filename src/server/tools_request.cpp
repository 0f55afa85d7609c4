#include "server/tools_request.h"

#include <algorithm>

namespace quern {
namespace {

constexpr size_t kMaxTools = 128, kMaxNameBytes = 64;
// Reading an object of n keys in their order takes n * n / 2 comparisons; a request may cost this many.
constexpr size_t kMaxOrderCost = 50'000'000;

bool is_name(std::string_view name) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= kMaxNameBytes && std::ranges::all_of(name, is_letter);
}

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

std::string read_function(const RequestFields& function) {
  const std::string name = function.required_text("name");
  if (!is_name(name)) {
    throw field_error(function.path_of("name"), "want 1 to {} of A-Z, a-z, 0-9, _ and -, found '{}'", kMaxNameBytes, escaped(name, 80));
  }
  function.text("description");
  function.object("parameters");
  function.flag("strict");
  return name;
}

ApiError not_enforced(std::string param, std::string_view what) {
  ApiError error = field_error(std::move(param), "{} is not supported: the answer could not be held to it", what);
  error.code = "unsupported_value";
  return error;
}

// The name that tool_choice or function_call gives: "auto", "none", or an error.
bool read_choice(const Json& choice, const std::string& path, const std::vector<std::string>& names) {
  if (choice.is_string()) {
    const std::string text = choice.get<std::string>();
    if (text == "auto") return true;
    if (text == "none") return false;
    if (text == "required") throw not_enforced(path, "required");
    throw field_error(path, "want none, auto, required or a tool, found '{}'", escaped(text, 60));
  }
  const RequestFields fields(choice, path);
  const auto function = fields.object("function");
  const std::string name = function ? function->required_text("name") : fields.required_text("name");
  if (std::ranges::find(names, name) == names.end()) throw field_error(path, "want one of the tools, found '{}'", escaped(name, 80));
  throw not_enforced(path, "a named tool");
}

}  // namespace

ToolsRequest read_tools(const RequestFields& fields, std::string_view text) {
  ToolsRequest request;
  const Json* tools = fields.array("tools", kMaxTools);
  const Json* functions = fields.array("functions", kMaxTools);
  if (tools != nullptr && functions != nullptr) throw field_error("functions", "want tools or functions, found both");
  const char* name = tools != nullptr ? "tools" : "functions";
  const Json* list = tools != nullptr ? tools : functions;
  std::vector<std::string> names;
  for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
    const RequestFields entry((*list)[i], fmt::format("{}[{}]", name, i));
    if (list == functions) {
      names.push_back(read_function(entry));
      continue;
    }
    if (const std::string type = entry.required_text("type"); type != "function") {
      throw field_error(entry.path_of("type"), "want function, found '{}'", escaped(type, 60));
    }
    const auto function = entry.object("function");
    if (!function) throw field_error(entry.path_of("function"), "want an object, found nothing");
    names.push_back(read_function(*function));
  }
  const char* choice_name = list == functions && list != nullptr ? "function_call" : "tool_choice";
  const Json* choice = fields.find(choice_name);
  request.may_call = !names.empty() && (choice == nullptr || read_choice(*choice, choice_name, names));
  if (choice != nullptr && names.empty() && *choice != "none" && *choice != "auto") {
    throw field_error(choice_name, "want tools beside it");
  }
  if (!request.may_call) return request;

  if (order_cost(*list) > kMaxOrderCost) throw field_error(name, "want objects with fewer keys");
  const OrderedJson ordered = parse_ordered_json(member_text(text, name), name);
  if (!ordered.is_array()) throw field_error(name, "want the name of this field without escapes");
  for (const OrderedJson& tool : ordered) {
    if (list == tools) {
      request.tools.push_back(tool);
    } else {
      request.tools.push_back({{"type", "function"}, {"function", tool}});
    }
  }
  return request;
}

std::vector<ToolCall> read_past_calls(const RequestFields& message) {
  std::vector<ToolCall> calls;
  const auto read_call = [&](const RequestFields& function) {
    ToolCall call{function.required_text("name"), OrderedJson::object()};
    const Json* arguments = function.find("arguments");
    if (arguments == nullptr) return calls.push_back(std::move(call));
    const std::string path = function.path_of("arguments");
    if (!arguments->is_string() && !arguments->is_object()) throw field_error(path, "want JSON text, found {}", found_value(*arguments));
    const std::string text = arguments->is_string() ? arguments->get<std::string>() : arguments->dump();
    if (text.find_first_not_of(" \n\r\t") == text.npos) return calls.push_back(std::move(call));
    Json parsed;
    try {
      parsed = parse_json(text, path);
    } catch (const Error& error) {
      throw field_error(path, "want JSON text: {}", escaped(error.message(), 200));
    }
    if (!parsed.is_object()) throw field_error(path, "want the text of a JSON object, found {}", found_value(parsed));
    if (order_cost(parsed) > kMaxOrderCost) throw field_error(path, "want objects with fewer keys");
    call.arguments = parse_ordered_json(text, path);
    calls.push_back(std::move(call));
  };
  if (const Json* list = message.array("tool_calls", kMaxTools)) {
    for (const Json& entry : *list) {
      const RequestFields call(entry, fmt::format("{}[{}]", message.path_of("tool_calls"), calls.size()));
      const auto function = call.object("function");
      if (!function) throw field_error(call.path_of("function"), "want an object, found nothing");
      read_call(*function);
    }
  }
  if (const auto function = message.object("function_call")) read_call(*function);
  return calls;
}

void refuse_unenforceable_format(const RequestFields& fields) {
  if (const auto format = fields.object("response_format")) {
    const std::string type = format->required_text("type");
    if (type != "text" && type != "json_object" && type != "json_schema") {
      throw field_error("response_format.type", "want text, json_object or json_schema, found '{}'", escaped(type, 60));
    }
    if (type != "text") throw not_enforced("response_format", type);
  }
  for (const char* name :
       {"structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "grammar", "json_schema"}) {
    if (fields.has(name)) throw not_enforced(name, "a constrained answer");
  }
  for (const char* name : {"use_beam_search", "logits_processors"}) {
    const Json* value = fields.find(name);
    if (value != nullptr && *value != false) throw not_enforced(name, name);
  }
}

}  // namespace quern
