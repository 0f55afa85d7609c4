#include "server/xml_call_text.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "server/json_writer.h"
#include "server/tool_call_text.h"

namespace quern {
namespace {

constexpr std::string_view kFunction = "<function=", kFunctionEnd = "</function>",
                           kParameter = "<parameter=", kParameterEnd = "</parameter>";
constexpr size_t kMaxNameBytes = 256;

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

// The types that a schema allows, by name; none when it does not say.
std::vector<std::string> types_of(const OrderedJson& schema) {
  std::vector<std::string> types;
  if (!schema.is_object()) return types;
  if (const auto type = schema.find("type"); type != schema.end()) {
    if (type->is_string()) types.emplace_back(type->get<std::string>());
    if (type->is_array()) {
      for (const OrderedJson& each : *type) types.emplace_back(each.is_string() ? each.get<std::string>() : "");
    }
    return types;
  }
  for (const char* name : {"anyOf", "oneOf"}) {
    const auto list = schema.find(name);
    if (list == schema.end() || !list->is_array()) continue;
    for (const OrderedJson& each : *list) {
      const auto type = each.is_object() ? each.find("type") : each.end();
      types.emplace_back(each.is_object() && type != each.end() && type->is_string() ? type->get<std::string>() : "");
    }
    return types;
  }
  if (const auto values = schema.find("enum"); values != schema.end() && values->is_array()) {
    for (const OrderedJson& each : *values) types.emplace_back(each.is_string() ? "string" : "");
  }
  if (schema.contains("properties")) types.emplace_back("object");
  if (schema.contains("items")) types.emplace_back("array");
  return types;
}

// Nothing but a string: handed on as it comes. So is what the schema does not know.
bool is_text_only(const OrderedJson* schema) {
  if (schema == nullptr) return true;
  const std::vector<std::string> types = types_of(*schema);
  return std::ranges::all_of(types, [](const std::string& type) { return type == "string"; });
}

bool has_type(const Json& value, std::string_view type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  return type.empty() && !value.is_string();  // a type that the schema does not name
}

// What Python writes for JSON's words.
std::string json_words(std::string_view text) {
  for (const auto& [python, json] : {std::pair{"True", "true"}, {"False", "false"}, {"None", "null"}}) {
    if (text == python) return json;
  }
  return std::string(text);
}

}  // namespace

std::string xml_value_json(const std::string& text, const OrderedJson* schema) {
  if (is_text_only(schema)) return json_string(text);
  std::string candidate = json_words(trimmed(text));
  try {
    const Json value = parse_json(candidate, "value");
    const std::vector<std::string> types = types_of(*schema);
    if (std::ranges::any_of(types, [&](const std::string& type) { return has_type(value, type); })) return candidate;
  } catch (const Error&) {
  }
  return json_string(text);
}

bool XmlCallText::push(char c) {
  body_ += c;
  if (body_.size() > kMaxBytes) return false;
  switch (state_) {
    case State::open: return push_open(c);
    case State::name: return push_name(c);
    case State::between: push_between(c); break;
    case State::key: push_key(c); break;
    case State::value: push_value(c); break;
    case State::done: return is_space(c);
  }
  return true;
}

bool XmlCallText::push_open(char c) {
  if (tag_.empty() && is_space(c)) return true;
  tag_ += c;
  if (!kFunction.starts_with(tag_)) return false;
  if (tag_ == kFunction) {
    tag_.clear();
    state_ = State::name;
  }
  return true;
}

bool XmlCallText::push_name(char c) {
  if (c != '>') {
    tag_ += c;
    return c != '<' && c != '\n' && tag_.size() <= kMaxNameBytes;
  }
  const std::string_view name = trimmed(tag_);
  if (name.empty()) return false;
  name_ = std::string(name);
  tag_.clear();
  state_ = State::between;
  return true;
}

// Between parameters: what is no tag is passed over.
void XmlCallText::push_between(char c) {
  tag_ += c;
  while (!tag_.empty() && !kParameter.starts_with(tag_) && !kFunctionEnd.starts_with(tag_)) tag_.erase(0, 1);
  if (tag_ == kParameter) {
    tag_.clear();
    state_ = State::key;
  } else if (tag_ == kFunctionEnd) {
    end_call();
  }
}

void XmlCallText::push_key(char c) {
  if (c != '>') {
    tag_ += c;
    return;
  }
  key_ = std::string(trimmed(tag_));
  tag_.clear();
  begin_value();
}

void XmlCallText::begin_value() {
  const OrderedJson* schema = nullptr;
  if (schemas_ != nullptr) {
    const auto function = schemas_->find(*name_);
    if (function != schemas_->end() && function->second.is_object() && function->second.contains("properties")) {
      const OrderedJson& properties = function->second.at("properties");
      if (properties.is_object() && properties.contains(key_)) schema = &properties.at(key_);
    }
  }
  is_text_ = is_text_only(schema);
  is_first_ = true;
  value_.clear();
  arguments_ += (has_parameters_ ? ", " : "{") + json_string(key_) + ": ";
  if (is_text_) arguments_ += '"';
  has_parameters_ = true;
  state_ = State::value;
}

void XmlCallText::add_to_value(std::string_view text) {
  if (is_text_) {
    for (const char c : text) {  // bytes of a character stay as they are
      if (static_cast<unsigned char>(c) >= 0x80) {
        arguments_ += c;
      } else {
        const std::string quoted = json_string(std::string_view(&c, 1));
        arguments_.append(quoted, 1, quoted.size() - 2);
      }
    }
  } else {
    value_ += text;
  }
}

// tag_ holds what may be the line break and the tag that end the value.
void XmlCallText::push_value(char c) {
  if (std::exchange(is_first_, false) && c == '\n') return;
  tag_ += c;
  for (;;) {
    const std::string_view rest = std::string_view(tag_).substr(tag_.starts_with('\n') ? 1 : 0);
    const auto may_become = [&](std::string_view tag) { return tag.starts_with(rest); };
    if (rest == kParameterEnd || rest == kParameter || rest == kFunctionEnd) {
      const bool is_next = rest == kParameter, is_end = rest == kFunctionEnd;
      tag_.clear();
      end_value();
      state_ = is_next ? State::key : State::between;
      if (is_end) end_call();
      return;
    }
    if (tag_.empty() || may_become(kParameterEnd) || may_become(kParameter) || may_become(kFunctionEnd)) return;
    add_to_value(std::string_view(tag_).substr(0, 1));
    tag_.erase(0, 1);
  }
}

void XmlCallText::end_value() {
  if (is_text_) {
    arguments_ += '"';
    return;
  }
  const OrderedJson& schema = schemas_->find(*name_)->second.at("properties").at(key_);  // known, or it would be text
  arguments_ += xml_value_json(value_, &schema);
}

void XmlCallText::end_call() {
  arguments_ += has_parameters_ ? "}" : "{}";
  is_closed_ = true;
  tag_.clear();
  state_ = State::done;
}

std::string XmlCallText::take_arguments() { return std::exchange(arguments_, {}); }

// An answer that was cut off ends its value and its object.
std::string XmlCallText::finish_arguments() {
  if (!is_closed_) {
    if (state_ == State::value) {
      add_to_value(tag_ == "\n" ? "" : std::string_view(tag_));
      end_value();
    }
    end_call();
  }
  return take_arguments();
}

std::unique_ptr<CallText> new_call_text(CallDialect dialect, std::shared_ptr<const CallSchemas> schemas) {
  if (dialect == CallDialect::xml) return std::make_unique<XmlCallText>(std::move(schemas));
  return std::make_unique<ToolCallText>();
}

}  // namespace quern
