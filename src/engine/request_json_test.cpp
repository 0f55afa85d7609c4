// Requests in JSON: every name is read, every wrong value is refused with the field's name.
#include "engine/request_json.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

SamplingParams sampling(const char* text) {
  const Json object = parse_json(text, "line");
  SamplingParams params;
  read_sampling_fields(JsonFields(object, "line"), params);
  return params;
}

template <class Call>
std::string refusal(Call&& call) {
  try {
    call();
    return "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), invalid_input);
    return error.message();
  }
}

TEST(RequestJson, EverySamplingFieldIsRead) {
  const SamplingParams p =
      sampling(R"({"temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "repetition_penalty": 1.2, "presence_penalty": -1,
    "frequency_penalty": 1, "logit_bias": {"7": -100, "3": 2.5}, "seed": -1, "max_tokens": 5, "min_tokens": 2, "stop": ["a", "b"], "stop_token_ids": [4],
    "ignore_eos": true, "include_stop_str_in_output": true, "skip_special_tokens": false, "logprobs": 3})");
  EXPECT_EQ(p.temperature, 0.5);
  EXPECT_EQ(p.top_p, 0.9);
  EXPECT_EQ(p.top_k, 40);
  EXPECT_EQ(p.min_p, 0.1);
  EXPECT_EQ(p.repetition_penalty, 1.2);
  EXPECT_EQ(p.presence_penalty, -1);
  EXPECT_EQ(p.frequency_penalty, 1);
  EXPECT_EQ(p.logit_bias, (std::vector<std::pair<TokenId, double>>{{3, 2.5}, {7, -100}}));
  EXPECT_EQ(p.seed, -1);
  EXPECT_EQ(p.max_tokens, 5);
  EXPECT_EQ(p.min_tokens, 2);
  EXPECT_EQ(p.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(p.stop_token_ids, std::vector<int64_t>{4});
  EXPECT_TRUE(p.ignore_eos && p.include_stop_str_in_output);
  EXPECT_FALSE(p.skip_special_tokens);
  EXPECT_EQ(p.logprobs, 3);
}

TEST(RequestJson, OtherNamesAndAbsence) {
  EXPECT_EQ(sampling(R"({"n_predict": 9})").max_tokens, 9);
  EXPECT_EQ(sampling(R"({"max_completion_tokens": 8, "max_tokens": 9})").max_tokens, 8);
  EXPECT_EQ(sampling(R"({"repeat_penalty": 1.5})").repetition_penalty, 1.5);
  EXPECT_EQ(sampling(R"({"stop": "x"})").stop, std::vector<std::string>{"x"});
  EXPECT_EQ(sampling(R"({"temperature": null, "seed": null, "stop": null})").temperature, 1);
  for (const char* name : {"temperature", "n_predict", "logit_bias", "skip_special_tokens"}) EXPECT_TRUE(is_sampling_field(name));
  EXPECT_FALSE(is_sampling_field("prompt"));
}

TEST(RequestJson, WrongValuesNameTheirField) {
  const struct {
    const char* text;
    const char* names;
  } kCases[] = {
      {R"({"temperature": "hot"})", "temperature"},
      {R"({"top_k": 1.5})", "top_k"},
      {R"({"max_tokens": "10"})", "max_tokens"},
      {R"({"seed": 18446744073709551615})", "seed"},
      {R"({"stop": 7})", "stop"},
      {R"({"stop": ["a", 7]})", "stop[1]"},
      {R"({"logit_bias": [1]})", "logit_bias"},
      {R"({"logit_bias": {"x": 1}})", "logit_bias"},
      {R"({"logit_bias": {"-1": 1}})", "logit_bias"},
      {R"({"logit_bias": {"5": "a"}})", "logit_bias[5]"},
      {R"({"ignore_eos": "yes"})", "ignore_eos"},
      {R"({"stop_token_ids": "1"})", "stop_token_ids"},
      {R"({"logprobs": true})", "logprobs"},
  };
  for (const auto& each : kCases) {
    const std::string message = refusal([&] { sampling(each.text); });
    EXPECT_TRUE(message.starts_with("line: ")) << message;
    EXPECT_NE(message.find(each.names), std::string::npos) << message;
  }
}

TEST(RequestJson, MessagesInEveryForm) {
  const Json json = parse_json(R"([{"role": "developer", "content": "be short"},
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    {"role": "assistant", "content": null, "tool_calls": [{"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
    {"role": "function", "content": "42"},
    {"role": "assistant", "content": "done", "reasoning_content": "hm"}])",
                               "line");
  const std::vector<ChatMessage> messages = read_messages(json, "messages");
  ASSERT_EQ(messages.size(), 5u);
  EXPECT_EQ(messages[0].role, "system");
  EXPECT_EQ(messages[1].content, "ab");
  EXPECT_EQ(messages[2].content, "");
  ASSERT_EQ(messages[2].tool_calls.size(), 1u);
  EXPECT_EQ(messages[2].tool_calls[0].name, "f");
  EXPECT_EQ(messages[2].tool_calls[0].arguments, OrderedJson("{}"));
  EXPECT_EQ(messages[3].role, "tool");
  EXPECT_EQ(messages[4].reasoning, "hm");
}

TEST(RequestJson, WrongMessagesNameTheirPlace) {
  const struct {
    const char* text;
    const char* names;
  } kCases[] = {
      {"[]", "messages"},
      {"\"hi\"", "messages"},
      {R"([{"role": "root", "content": "x"}])", "messages[0].role"},
      {R"([{"content": "x"}])", "role"},
      {R"([{"role": "user"}])", "messages[0].content"},
      {R"([{"role": "user", "content": "x"}, {"role": "user", "content": 7}])", "messages[1].content"},
      {R"([{"role": "user", "content": [{"type": "image_url"}]}])", "messages[0].content[0].type"},
      {R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 7}}]}])", "arguments"},
  };
  for (const auto& each : kCases) {
    const Json json = parse_json(each.text, "line");
    const std::string message = refusal([&] { read_messages(json, "messages"); });
    EXPECT_NE(message.find(each.names), std::string::npos) << message;
  }
}

TEST(RequestJson, TokenIds) {
  EXPECT_EQ(read_token_ids(parse_json("[0, 2147483647]", "line"), "ids"), (std::vector<TokenId>{0, 2147483647}));
  for (const char* text : {"[]", "7", "[-1]", "[2147483648]", "[1.5]", "[\"1\"]", "[9007199254740993000]", "[null]"}) {
    EXPECT_NE(refusal([&] { read_token_ids(parse_json(text, "line"), "ids"); }).find("ids"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace quern
