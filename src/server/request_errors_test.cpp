// What is wrong with a request is said with its status, code and field.
#include <gtest/gtest.h>

#include "server/test_client.h"

namespace quern::testing {
namespace {

std::string error_code(const TestReply& reply) { return reply.json()["error"]["code"]; }
std::string error_param(const TestReply& reply) {
  const Json param = reply.json()["error"]["param"];
  return param.is_null() ? "" : param.get<std::string>();
}

struct BadField {
  const char* path;
  std::string body;
  const char* param;
};

TEST(RequestErrors, BadFieldsAreNamed) {
  TestServer server;
  const auto chat = [](const char* more) { return chat_body("x", more); };
  const char *kChat = "/v1/chat/completions", *kText = "/v1/completions";
  const BadField cases[] = {
      {kChat, R"({"messages":[]})", "messages"},
      {kChat, R"({"messages":null})", "messages"},
      {kChat, R"({"messages":[{"role":"robot","content":"x"}]})", "messages[0].role"},
      {kChat, R"({"messages":[{"role":"user","content":null}]})", "messages[0].content"},
      {kChat, R"({"messages":[{"role":"user","content":"a"},{"role":"user","content":7}]})", "messages[1].content"},
      {kChat, R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}]})",
       "messages[0].content[0].type"},
      {kChat, R"({"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{"}}]}]})",
       "messages[0].tool_calls[0].function.arguments"},
      {kChat, chat(R"("temperature":-1)"), "temperature"},
      {kChat, chat(R"("temperature":"hot")"), "temperature"},
      {kChat, chat(R"("temperature":1e308)"), "temperature"},
      {kChat, chat(R"("top_p":0)"), "top_p"},
      {kChat, chat(R"("top_p":2)"), "top_p"},
      {kChat, chat(R"("top_k":-2)"), "top_k"},
      {kChat, chat(R"("min_p":5)"), "min_p"},
      {kChat, chat(R"("presence_penalty":1e9)"), "presence_penalty"},
      {kChat, chat(R"("repetition_penalty":0)"), "repetition_penalty"},
      {kChat, chat(R"("max_tokens":0)"), "max_tokens"},
      {kChat, chat(R"("max_tokens":1.5)"), "max_tokens"},
      {kChat, chat(R"("max_tokens":"10")"), "max_tokens"},
      {kChat, chat(R"("max_tokens":2147483648)"), "max_tokens"},
      {kChat, chat(R"("max_completion_tokens":0)"), "max_completion_tokens"},
      {kChat, chat(R"("seed":18446744073709551616)"), "seed"},
      {kChat, chat(R"("seed":1.5)"), "seed"},
      {kChat, chat(R"("n":0)"), "n"},
      {kChat, chat(R"("n":1000000)"), "n"},
      {kChat, chat(R"("logprobs":true,"top_logprobs":21)"), "top_logprobs"},
      {kChat, chat(R"("top_logprobs":2)"), "top_logprobs"},
      {kChat, chat(R"("logit_bias":{"abc":1})"), "logit_bias"},
      {kChat, chat(R"("logit_bias":{"999999":1})"), "logit_bias"},
      {kChat, chat(R"("logit_bias":{"1":1000})"), "logit_bias"},
      {kChat, chat(R"("stop":"")"), "stop[0]"},
      {kChat, chat(R"("stop":7)"), "stop"},
      {kChat, chat(R"("stop":["a",7])"), "stop[1]"},
      {kChat, chat(R"("stop_token_ids":[1,999999])"), "stop_token_ids[1]"},
      {kChat, chat(R"("stream":"yes")"), "stream"},
      {kChat, chat(R"("stream_options":{})"), "stream_options"},
      {kChat, chat(R"("response_format":{"type":"yaml"})"), "response_format.type"},
      {kChat, chat(R"("response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"string","pattern":"(a)++$"}}})"),
       "response_format.json_schema.schema"},
      {kChat, chat(R"("response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"$ref":"http://x"}}})"),
       "response_format.json_schema.schema"},
      {kChat, chat(R"("response_format":{"type":"json_object"},"guided_json":{})"), "guided_json"},
      {kChat, chat(R"("guided_choice":[])"), "guided_choice"},
      {kChat, chat(R"("guided_regex":"(")"), "guided_regex"},
      {kChat, chat(R"("grammar":"root ::= x")"), "grammar"},
      {kChat, chat(R"("tools":[{"type":"function","function":{"name":"a b"}}])"), "tools[0].function.name"},
      {kChat, chat(R"("tools":[{"type":"function","function":{"name":"f","parameters":3}}])"), "tools[0].function.parameters"},
      {kChat, chat(R"("tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"function","function":{"name":"g"}})"),
       "tool_choice"},
      {kChat, chat(R"("tool_choice":"required")"), "tool_choice"},
      {kChat, chat(R"("chat_template_kwargs":{"messages":[]})"), "chat_template_kwargs.messages"},
      {kChat, chat(R"("modalities":["audio"])"), "modalities"},
      {kText, R"({})", "prompt"},
      {kText, R"({"prompt":""})", "prompt"},
      {kText, R"({"prompt":[]})", "prompt"},
      {kText, R"({"prompt":[1,-1]})", "prompt[1]"},
      {kText, R"({"prompt":[1,9007199254740993]})", "prompt[1]"},
      {kText, R"({"prompt":[1,"a"]})", "prompt[1]"},
      {kText, R"({"prompt":["a",[1]," "],"best_of":2,"n":3})", "best_of"},
      {kText, R"({"prompt":"a","max_tokens":0})", "max_tokens"},
      {kText, R"({"prompt":"a","logprobs":21})", "logprobs"},
      {kText, R"({"prompt":"a","prompt_logprobs":21})", "prompt_logprobs"},
      {kText, R"({"prompt":"a","prompt_logprobs":1,"stream":true})", "prompt_logprobs"},
      {kChat, chat(R"("prompt_logprobs":-1)"), "prompt_logprobs"},
      {"/tokenize", R"({"prompt":7})", "prompt"},
      {"/detokenize", R"({"tokens":[999999]})", "tokens[0]"},
  };
  TestClient client(server.server.port());
  for (const BadField& each : cases) {
    const TestReply reply = client.post(each.path, each.body);
    ASSERT_EQ(reply.status, 400) << each.body << ": " << reply.body;
    EXPECT_EQ(error_param(reply), each.param) << reply.body;
    EXPECT_EQ(reply.json()["error"]["type"], "invalid_request_error");
  }
  EXPECT_EQ(client.post("/v1/chat/completions", chat_body("still here")).status, 200);
  EXPECT_TRUE(server.becomes_idle(1));
}

TEST(RequestErrors, BadJson) {
  TestServer server;
  TestClient client(server.server.port());
  const std::string cases[] = {"{",
                               "[]",
                               "7",
                               "{\"prompt\":NaN}",
                               std::string(100'000, '['),
                               R"({"a":1,"a":2})",
                               "{} x",
                               "\xef\xbb\xbf{}",
                               "{\"prompt\":\"\xff\"}",
                               "{\"prompt\":\"\xc4\xe3\"}",
                               "{\"a\":" + std::string(65, '[') + std::string(65, ']') + "}"};
  for (const std::string& body : cases) {
    const TestReply reply = client.post("/v1/completions", body);
    ASSERT_EQ(reply.status, 400) << body.substr(0, 50);
    EXPECT_TRUE(error_code(reply) == "invalid_json" || error_code(reply) == "invalid_value") << reply.body;
  }
  EXPECT_EQ(client.post("/v1/completions", "").status, 400);
  EXPECT_EQ(server.post("/v1/completions", "{}", "Content-Encoding: gzip\r\n").status, 415);
}

TEST(RequestErrors, UnknownModel) {
  TestServer server;
  const TestReply reply = server.post("/v1/chat/completions", chat_body("x", R"("model":"gpt")"));
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(error_code(reply), "model_not_found");
  EXPECT_EQ(server.post("/v1/chat/completions", chat_body("x", R"("model":"alias")")).status, 200);
}

TEST(RequestErrors, PromptsThatCannotFit) {
  TestServer server({}, {}, {.max_model_len = 64});
  for (const std::string& body : {chat_body(std::string(100, 'x')), chat_body("x", R"("max_tokens":100)")}) {
    const TestReply reply = server.post("/v1/chat/completions", body);
    ASSERT_EQ(reply.status, 400) << reply.body;
    EXPECT_EQ(error_code(reply), "context_length_exceeded");
    EXPECT_EQ(reply.json()["error"]["n_ctx"], 64);
    EXPECT_GT(reply.json()["error"]["n_prompt_tokens"], 0);
  }
  const Json cut =
      server.post("/v1/completions", R"({"prompt":")" + std::string(100, 'x') + R"(","truncate_prompt_tokens":10,"max_tokens":2})").json();
  EXPECT_EQ(cut["usage"]["prompt_tokens"], 10);
}

}  // namespace
}  // namespace quern::testing
