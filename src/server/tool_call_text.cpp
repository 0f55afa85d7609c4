#include "server/tool_call_text.h"

#include <utility>

#include "base/json.h"

namespace quern {
namespace {

constexpr size_t kMaxDepth = 64;

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

// The text of a JSON string with its quotes; nothing when it is none.
std::optional<std::string> string_of(const std::string& json) {
  try {
    const Json value = parse_json(json, "string");
    if (value.is_string()) return value.get<std::string>();
  } catch (const Error&) {
  }
  return std::nullopt;
}

}  // namespace

bool ToolCallText::push(char c) {
  body_ += c;
  if (body_.size() > kMaxBytes) return false;
  switch (state_) {
    case State::open:
      if (c == '{') state_ = State::key;
      return c == '{' || is_space(c);
    case State::key:
      if (c == '"') {
        key_.assign(1, c);
        state_ = State::key_text;
      } else if (c == '}') {
        state_ = State::done;
      }
      return c == '"' || c == '}' || c == ',' || is_space(c);
    case State::key_text:
      key_ += c;
      if (is_escape_) {
        is_escape_ = false;
      } else if (c == '\\') {
        is_escape_ = true;
      } else if (c == '"') {
        const std::optional<std::string> text = string_of(key_);
        if (!text) return false;
        key_ = *text;
        state_ = State::colon;
      }
      return true;
    case State::colon:
      if (c == ':') state_ = State::value;
      return c == ':' || is_space(c);
    case State::value: return begin_value(c);
    case State::string_value:
      value_ += c;
      if (is_escape_) {
        is_escape_ = false;
      } else if (c == '\\') {
        is_escape_ = true;
      } else if (c == '"') {
        end_value();
      }
      return true;
    case State::nested:
      if (is_arguments()) arguments_ += c;
      if (in_string_) {
        if (is_escape_) {
          is_escape_ = false;
        } else if (c == '\\') {
          is_escape_ = true;
        } else if (c == '"') {
          in_string_ = false;
        }
      } else if (c == '"') {
        in_string_ = true;
      } else if (c == '{' || c == '[') {
        if (++depth_ > kMaxDepth) return false;
      } else if ((c == '}' || c == ']') && --depth_ == 0) {
        end_value();
      }
      return true;
    case State::scalar:
      if (c != ',' && c != '}' && !is_space(c)) {
        value_ += c;
        return true;
      }
      end_value();
      [[fallthrough]];
    case State::after_value:
      if (c == ',') state_ = State::key;
      if (c == '}') state_ = State::done;
      return c == ',' || c == '}' || is_space(c);
    case State::done: return is_space(c);
  }
  return false;
}

bool ToolCallText::begin_value(char c) {
  if (is_space(c)) return true;
  value_ = c;
  if (c == '"') {
    state_ = State::string_value;
  } else if (c == '{' || c == '[') {
    depth_ = 1;
    state_ = State::nested;
    if (is_arguments()) {
      arguments_ += c;
      has_arguments_ = true;
    }
  } else {
    state_ = State::scalar;
  }
  return c != ',' && c != '}' && c != ']' && c != ':';
}

void ToolCallText::end_value() {
  if (state_ == State::string_value) {
    const std::optional<std::string> text = string_of(value_);
    if (key_ == "name" && !name_) name_ = text.value_or("");
    if (is_arguments() && text) {  // arguments as a text that holds JSON
      arguments_ += *text;
      has_arguments_ = !text->empty();
    }
  }
  value_.clear();
  state_ = State::after_value;
}

std::string ToolCallText::take_arguments() { return name_ ? std::exchange(arguments_, {}) : std::string(); }

std::string ToolCallText::finish_arguments() {
  std::string rest = std::exchange(arguments_, {});
  if (!std::exchange(has_arguments_, true)) rest = "{}";
  return rest;
}

}  // namespace quern
