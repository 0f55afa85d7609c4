// A call in Qwen3-Coder's dialect: <function=NAME>, then <parameter=KEY>, a value between line breaks and </parameter> any number of times,
// then </function>. Values become JSON by the types of the tool's schema. </parameter> may be missing. See CallText.
#pragma once
#include <string>
#include <string_view>

#include "server/call_text.h"

namespace quern {

class XmlCallText : public CallText {
 public:
  explicit XmlCallText(std::shared_ptr<const CallSchemas> schemas) : schemas_(std::move(schemas)) {}

  bool push(char c) override;
  bool is_complete() const override { return state_ == State::done; }
  std::string take_arguments() override;
  std::string finish_arguments() override;

 private:
  enum class State { open, name, between, key, value, done };
  bool push_open(char c);
  bool push_name(char c);
  void push_between(char c);
  void push_key(char c);
  void push_value(char c);
  void begin_value();
  void add_to_value(std::string_view text);
  void end_value();
  void end_call();

  std::shared_ptr<const CallSchemas> schemas_;
  State state_ = State::open;
  std::string tag_;          // of what may be a tag, so far
  std::string key_, value_;  // value_: of one that is no plain string, until its end
  bool is_text_ = true;      // the value is a string, handed on as it comes
  bool is_first_ = true;     // character of the value: a line break there belongs to the tag
  bool has_parameters_ = false, is_closed_ = false;
  std::string arguments_;  // not handed out yet
};

// A value's text as JSON, by its schema: as it stands where it is JSON of a type that the schema names, else a string.
std::string xml_value_json(const std::string& text, const OrderedJson* schema);

}  // namespace quern
