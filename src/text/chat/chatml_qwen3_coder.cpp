// Qwen3-Coder: tools as XML in the system turn, calls as <function=NAME> with one <parameter=KEY> a value. "tools" is the template of
// copies that say "tools" where the first says "functions".
#include <fmt/format.h>

#include <algorithm>

#include "text/chat/chatml.h"
#include "text/chat/list.h"
#include "text/chat/python_text.h"
#include "text/json_text.h"

namespace quern {
namespace {

enum class Wording { functions, tools };

// Python's str() of a value, as Jinja's ~ and `string` write it.
std::string python_text(const OrderedJson& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  if (value.is_null()) return "None";
  return python_json(value);
}

// str() of a list of plain strings, or of one value: what stands in `type`.
std::string type_text(const OrderedJson& type) {
  if (!type.is_array()) return python_text(type);
  std::string text = "[";
  for (const OrderedJson& each : type) {
    text.append(text.size() > 1 ? ", " : "");
    text.append(each.is_string() ? fmt::format("'{}'", each.get_ref<const std::string&>()) : python_text(each));
  }
  return text.append("]");
}

// What the template's macro writes of the keys that have no place of their own.
void write_extra_keys(PromptWriter& out, const OrderedJson& object, std::initializer_list<std::string_view> handled) {
  if (!object.is_object()) return;
  for (const auto& [key, value] : object.items()) {
    if (std::ranges::find(handled, key) != handled.end()) continue;
    out.user(fmt::format("\n<{0}>{1}</{0}>", key, value.is_structured() ? python_json(value) : python_text(value)));
  }
}

void write_description(PromptWriter& out, const OrderedJson& holder) {
  if (const auto description = holder.find("description"); description != holder.end()) {
    out.format("\n<description>").user(python_stripped(python_text(*description))).format("</description>");
  }
}

void write_function(PromptWriter& out, const OrderedJson& tool) {
  const OrderedJson& function = tool.contains("function") ? tool.at("function") : tool;
  out.format("\n<function>\n<name>").user(function.at("name").get<std::string>()).format("</name>");
  write_description(out, function);
  out.format("\n<parameters>");
  const OrderedJson parameters = function.value("parameters", OrderedJson());
  if (parameters.is_object() && parameters.contains("properties") && parameters.at("properties").is_object()) {
    for (const auto& [name, fields] : parameters.at("properties").items()) {
      out.format("\n<parameter>\n<name>").user(name).format("</name>");
      if (fields.is_object()) {
        if (fields.contains("type")) out.format("\n<type>").user(type_text(fields.at("type"))).format("</type>");
        write_description(out, fields);
        write_extra_keys(out, fields, {"name", "type", "description"});
      }
      out.format("\n</parameter>");
    }
  }
  write_extra_keys(out, parameters, {"type", "properties"});
  out.format("\n</parameters>");
  write_extra_keys(out, function, {"type", "name", "description", "parameters"});
  out.format("\n</function>");
}

constexpr const char* kFunctionsText =
    "\n\nIf you choose to call a function ONLY reply in the following format with NO suffix:\n\n<tool_call>\n"
    "<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n<parameter=example_parameter_2>\nThis is "
    "the "
    "value for the second parameter\nthat can span\nmultiple lines\n</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n- "
    "Function calls MUST follow the specified format: an inner <function=...></function> block must be nested within "
    "<tool_call></tool_call> XML tags\n";
constexpr const char* kToolsText =
    "\n\nIf you choose to call a tool ONLY reply in the following format with NO suffix:\n\n<tool_call>\n<function=example_function_name>\n"
    "<parameter=example_parameter_1>\nvalue_1\n</parameter>\n<parameter=example_parameter_2>\nvalue_2\n</parameter>\n</function>\n"
    "</tool_call>\n\n<IMPORTANT>\nReminder:\n- Function calls MUST follow the specified format: the tool calling block MUST begin with an "
    "opening <tool_call> tag and end with a closing </tool_call> tag.\n";
constexpr const char* kLastText =
    "- Required parameters MUST be specified\n- You may provide optional reasoning for your function call in natural language BEFORE the "
    "function call, but NOT after\n- If there is no function call available, answer the question like normal with your current knowledge "
    "and do not tell the user about function calls\n</IMPORTANT>";

void write_system(PromptWriter& out, const ChatMessage* system, const std::vector<OrderedJson>& tools, Wording wording) {
  if (system == nullptr && tools.empty()) return;
  out.format("<|im_start|>system\n");
  if (system != nullptr) {
    out.user(system->content);
  } else {
    out.format("You are Qwen, a helpful AI assistant that can interact with a computer to solve tasks.");
  }
  if (!tools.empty()) {
    const bool is_tools = wording == Wording::tools;
    out.format(is_tools ? "\n\n# Tools\n\nYou have access to the following tools:\n\n<tools>"
                        : "\n\n# Tools\n\nYou have access to the following functions:\n\n<tools>");
    for (const OrderedJson& tool : tools) write_function(out, tool);
    out.format("\n</tools>").format(is_tools ? kToolsText : kFunctionsText).format(kLastText);
  }
  out.format("<|im_end|>\n");
}

void write_calls(PromptWriter& out, const ChatMessage& message) {
  out.format("<|im_start|>assistant");
  if (const auto content = python_stripped(message.content); !content.empty()) out.format("\n").user(content).format("\n");
  for (const ToolCall& call : message.tool_calls) {
    out.format("\n<tool_call>\n<function=").user(call.name).format(">\n");
    if (!call.arguments.is_object()) raise(invalid_input, "tool_calls: arguments: chat format chatml-qwen3-coder wants an object");
    for (const auto& [name, value] : call.arguments.items()) {
      out.format("<parameter=").user(name).format(">\n");
      out.user(value.is_structured() ? python_json(value) : python_text(value)).format("\n</parameter>\n");
    }
    out.format("</function>\n</tool_call>");
  }
  out.format("<|im_end|>\n");
}

template <Wording wording>
std::vector<PromptPiece> render(std::span<const ChatMessage> messages, const ChatOptions& options) {
  check_roles(messages, "chatml-qwen3-coder");
  PromptWriter out;
  const bool has_system = messages[0].role == "system";
  write_system(out, has_system ? &messages[0] : nullptr, options.tools, wording);
  const auto rest = messages.subspan(has_system ? 1 : 0);
  for (size_t i = 0; i < rest.size(); ++i) {
    const ChatMessage& message = rest[i];
    if (message.role == "assistant" && !message.tool_calls.empty()) {
      write_calls(out, message);
    } else if (message.role == "tool") {
      if (i > 0 && rest[i - 1].role != "tool") out.format("<|im_start|>user\n");
      out.format("<tool_response>\n").user(message.content).format("\n</tool_response>\n");
      if (i + 1 == rest.size() || rest[i + 1].role != "tool") out.format("<|im_end|>\n");
    } else {
      write_turn(out, message.role, message.content);
    }
  }
  if (options.add_generation_prompt) out.format("<|im_start|>assistant\n");
  return out.take();
}

}  // namespace

ChatFormat chatml_qwen3_coder() {
  return {.name = "chatml-qwen3-coder", .render = &render<Wording::functions>, .stops = chatml_stops(), .thinks = false, .xml_calls = true};
}
ChatFormat chatml_qwen3_coder_tools() {
  return {
      .name = "chatml-qwen3-coder-tools", .render = &render<Wording::tools>, .stops = chatml_stops(), .thinks = false, .xml_calls = true};
}

}  // namespace quern
