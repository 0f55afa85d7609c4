// The server as clients see it, over sockets: routes, replies, streams, limits, and clients that misbehave.
#include "server/server.h"

#include <gtest/gtest.h>

#include "server/test_client.h"

namespace quern::testing {
namespace {

std::string error_code(const TestReply& reply) { return reply.json()["error"]["code"]; }
std::string error_param(const TestReply& reply) {
  const Json param = reply.json()["error"]["param"];
  return param.is_null() ? "" : param.get<std::string>();
}

TEST(Server, SmallRoutes) {
  TestServer server;
  for (const char* path : {"/livez", "/health", "/v1/health", "/readyz", "/ping"}) {
    const TestReply reply = server.get(path);
    EXPECT_EQ(reply.status, 200) << path;
    EXPECT_EQ(reply.body, R"({"status":"ok"})");
    EXPECT_EQ(reply.headers.at("x-request-id").size(), 32U);
  }
  const Json models = server.get("/v1/models").json();
  EXPECT_EQ(models["object"], "list");
  EXPECT_EQ(models["data"].size(), 2U);
  EXPECT_EQ(models["data"][0]["id"], "echo");
  EXPECT_EQ(models["data"][0]["max_model_len"], 1024);
  EXPECT_EQ(server.get("/models").json(), models);
  EXPECT_EQ(server.get("/v1/models/alias").json()["root"], "echo");
  EXPECT_EQ(server.get("/v1/models/%61lia%73").json()["root"], "echo");
  EXPECT_EQ(error_code(server.get("/v1/models/none")), "model_not_found");
  EXPECT_EQ(server.get("http://localhost:1/v1/models?x").json(), models);  // as to a proxy
  EXPECT_EQ(error_code(server.get("http://evil.example/v1/models")), "host_not_allowed");
  EXPECT_EQ(server.get("/version").json()["system_fingerprint"], "quern-test");
  EXPECT_NE(server.get("/metrics").body.find("quern:num_requests_running{model_name=\"echo\"} 0"), std::string::npos);
  EXPECT_EQ(server.get("/livez", "x-request-id: my-id\r\n").headers.at("x-request-id"), "my-id");
}

TEST(Server, UnknownRoutesAndMethods) {
  TestServer server;
  EXPECT_EQ(server.get("/nothing").status, 404);
  EXPECT_EQ(server.get("/health/").status, 404);
  EXPECT_EQ(server.get("//health").status, 404);
  EXPECT_EQ(server.get("/v1/..%2fhealth").status, 404);
  const TestReply reply = server.get("/v1/chat/completions");
  EXPECT_EQ(reply.status, 405);
  EXPECT_EQ(reply.headers.at("allow"), "POST");
  EXPECT_EQ(server.post("/health", "{}").status, 405);
  TestClient head(server.server.port());
  head.request("HEAD", "/health");
  EXPECT_TRUE(head.wait_for("\r\n\r\n"));
}

TEST(Server, ChatAnswers) {
  TestServer server;
  const TestReply reply = server.post("/v1/chat/completions", chat_body("Hello \xf0\x9f\x98\x80!", R"("unknown_field":1,"user":"me")"));
  ASSERT_EQ(reply.status, 200) << reply.body;
  const Json json = reply.json();
  EXPECT_EQ(json["object"], "chat.completion");
  EXPECT_TRUE(json["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_EQ(json["choices"][0]["message"]["content"], "Hello \xf0\x9f\x98\x80!");
  EXPECT_EQ(json["choices"][0]["message"]["role"], "assistant");
  EXPECT_TRUE(json["choices"][0]["message"]["refusal"].is_null());
  EXPECT_FALSE(json["choices"][0]["message"].contains("tool_calls"));
  EXPECT_EQ(json["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(json["usage"]["completion_tokens"], 12);  // 11 bytes and the end token
  EXPECT_EQ(json["usage"]["total_tokens"].get<int>(), json["usage"]["prompt_tokens"].get<int>() + 12);
  EXPECT_EQ(reply.headers.at("x-quern-ignored"), "unknown_field, user");
}

// The pieces of a stream, joined, and the order of its events.
TEST(Server, ChatStreamsTheSame) {
  TestServer server;
  const std::string text = "Emoji \xf0\x9f\x98\x80\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9 \xe4\xbd\xa0\xe5\xa5\xbd";
  const TestReply reply =
      server.post("/v1/chat/completions", chat_body(text, R"("stream":true,"stream_options":{"include_usage":true},"n":2)"));
  ASSERT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("content-type"), "text/event-stream; charset=utf-8");
  EXPECT_EQ(reply.headers.at("cache-control"), "no-cache");
  const std::vector<std::string> events = reply.events();
  ASSERT_GT(events.size(), 6U);
  EXPECT_EQ(events.back(), "[DONE]");
  std::string joined[2];
  int finished = 0;
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    const Json chunk = Json::parse(events[i]);
    EXPECT_EQ(chunk["object"], "chat.completion.chunk");
    EXPECT_EQ(chunk["id"], Json::parse(events[0])["id"]);
    if (i + 2 == events.size()) {
      EXPECT_TRUE(chunk["choices"].empty());
      EXPECT_EQ(chunk["usage"]["completion_tokens"].get<size_t>(), 2 * (text.size() + 1));
      continue;
    }
    EXPECT_TRUE(chunk["usage"].is_null());
    const Json& choice = chunk["choices"][0];
    if (i < 2) {
      EXPECT_EQ(choice["delta"]["role"], "assistant");
      EXPECT_EQ(choice["index"], i);
    }
    if (choice["delta"].contains("content")) joined[choice["index"].get<size_t>()] += choice["delta"]["content"].get<std::string>();
    if (!choice["finish_reason"].is_null()) {
      ++finished;
      EXPECT_TRUE(choice["delta"].empty());
    }
  }
  EXPECT_EQ(joined[0], text);
  EXPECT_EQ(joined[1], text);
  EXPECT_EQ(finished, 2);
}

TEST(Server, ReasoningIsApart) {
  TestServer server;
  const std::string text = "<think>\nWell.\n</think>\n\nYes.";
  const Json json = server.post("/v1/chat/completions", chat_body(text)).json();
  EXPECT_EQ(json["choices"][0]["message"]["content"], "Yes.");
  EXPECT_EQ(json["choices"][0]["message"]["reasoning"], "Well.");
  EXPECT_EQ(json["choices"][0]["message"]["reasoning_content"], "Well.");
  // Cut inside the reasoning: all of it is reasoning.
  const Json cut = server.post("/v1/chat/completions", chat_body(text, R"("max_tokens":6)")).json();
  EXPECT_EQ(cut["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(cut["choices"][0]["message"]["content"], "");
  EXPECT_EQ(cut["choices"][0]["message"]["reasoning"], "Well");
  // Thinking off: the prompt closes the reasoning itself.
  const Json off = server.post("/v1/chat/completions", chat_body("Yes.", R"("chat_template_kwargs":{"enable_thinking":false})")).json();
  EXPECT_EQ(off["choices"][0]["message"]["content"], "Yes.");
  EXPECT_GT(off["usage"]["prompt_tokens"], json["usage"]["prompt_tokens"].get<int>() - 20);
}

TEST(Server, ThinkingBudgets) {
  TestServer server;
  const std::string closing = "\n\nConsidering the limited time, I will answer now.\n</think>\n\n";
  const std::string text = "<think>\nabcdefgh" + std::string(60, 'x') + "and an answer.";
  const auto message = [&](const char* more) {
    return server.post("/v1/chat/completions", chat_body(text, more)).json()["choices"][0]["message"];
  };
  const Json some = message(R"("thinking_token_budget":4)");
  EXPECT_EQ(some["reasoning"], "abc\n\nConsidering the limited time, I will answer now.");
  EXPECT_EQ(some["content"], text.substr(std::string("<think>\nabc").size() + closing.size()));
  const Json none = message(R"("reasoning_budget_tokens":0)");
  EXPECT_FALSE(none.contains("reasoning"));
  EXPECT_EQ(none["content"], text.substr(std::string("<think></think>\n\n").size()));
  EXPECT_EQ(message(R"("thinking_budget_tokens":-1)")["content"], "");
  // Stop strings act on the answer only.
  const Json stopped = server.post("/v1/chat/completions", chat_body("<think>\na stop b</think>\n\nc stop d", R"("stop":"stop")")).json();
  EXPECT_EQ(stopped["choices"][0]["message"]["reasoning"], "a stop b");
  EXPECT_EQ(stopped["choices"][0]["message"]["content"], "c ");
  EXPECT_EQ(stopped["usage"]["completion_tokens_details"]["reasoning_tokens"], 11);
}

TEST(Server, AnswersAreHeldToSchemas) {
  TestServer server;
  const std::string schema = R"("response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"object","properties":)"
                             R"({"b":{"type":"integer"},"a":{"type":"string","maxLength":3}},"required":["b","a"]}}})";
  const auto choice = [&](const std::string& says, const std::string& more) {
    return server.post("/v1/chat/completions", chat_body(says, more)).json()["choices"][0];
  };
  const Json obeys = choice(R"({"b": 12, "a": "é"})", schema);
  EXPECT_EQ(obeys["message"]["content"], R"({"b": 12, "a": "é"})");
  EXPECT_EQ(obeys["finish_reason"], "stop");
  // A model that would say something else is held to it, behind its reasoning too.
  for (const char* says : {"No.", "<think>\nHm.</think>\n\nNo."}) {
    const Json held = choice(says, schema);
    EXPECT_EQ(held["finish_reason"], "stop") << held;
    const Json value = Json::parse(held["message"]["content"].get<std::string>());
    EXPECT_TRUE(value["b"].is_number_integer() && value["a"].is_string() && value.size() == 2) << value;
  }
  EXPECT_TRUE(
      Json::parse(choice("{}", R"("response_format":{"type":"json_object"})")["message"]["content"].get<std::string>()).is_object());
  EXPECT_EQ(choice("maybe", R"("guided_choice":["yes","no"])")["message"]["content"], "no");
  EXPECT_EQ(choice("yes", R"("structured_outputs":{"choice":["yes","no"]})")["message"]["content"], "yes");
  EXPECT_EQ(server.post("/v1/completions", R"({"prompt":"x","guided_choice":["yes","no"]})").json()["choices"][0]["text"], "yes");
}

TEST(Server, ToolsThatMustBeCalled) {
  TestServer server;
  const std::string tools =
      R"("tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"n":{"type":"integer"}},)"
      R"("required":["n"]}}},{"type":"function","function":{"name":"g"}}],)";
  for (const char* says : {"No.", "<think>Hm.</think>No."}) {
    for (const bool is_named : {false, true}) {
      const std::string how = is_named ? R"("tool_choice":{"type":"function","function":{"name":"g"}})" : R"("tool_choice":"required")";
      const Json choice =
          server.post("/v1/chat/completions", chat_body(says, tools + how + R"(,"parallel_tool_calls":false)")).json()["choices"][0];
      ASSERT_EQ(choice["finish_reason"], "tool_calls") << choice;
      ASSERT_EQ(choice["message"]["tool_calls"].size(), 1U);
      const Json& function = choice["message"]["tool_calls"][0]["function"];
      const Json arguments = Json::parse(function["arguments"].get<std::string>());
      EXPECT_EQ(function["name"], is_named ? "g" : "f");
      EXPECT_TRUE(is_named ? arguments.empty() : arguments["n"].is_number_integer()) << arguments;
    }
  }
}

TEST(Server, ToolCalls) {
  TestServer server;
  const std::string tools = R"("tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}])";
  const std::string text =
      "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"\xc3\xa9\"}}\n</tool_call>\n<tool_call>\n{\"name\": "
      "\"f\"}\n</tool_call>";
  const Json message = server.post("/v1/chat/completions", chat_body(text, tools)).json()["choices"][0];
  EXPECT_EQ(message["finish_reason"], "tool_calls");
  EXPECT_EQ(message["message"]["content"], "Let me see.");
  ASSERT_EQ(message["message"]["tool_calls"].size(), 2U);
  EXPECT_EQ(message["message"]["tool_calls"][0]["function"]["arguments"], "{\"a\": \"\xc3\xa9\"}");
  EXPECT_EQ(message["message"]["tool_calls"][1]["function"]["arguments"], "{}");
  EXPECT_TRUE(message["message"]["tool_calls"][0]["id"].get<std::string>().starts_with("call_"));

  std::string arguments[2];
  int names = 0;
  for (const std::string& event : server.post("/v1/chat/completions", chat_body(text, tools + R"(,"stream":true)")).events()) {
    if (event == "[DONE]") continue;
    const Json delta = Json::parse(event)["choices"][0]["delta"];
    if (!delta.contains("tool_calls")) continue;
    const Json& call = delta["tool_calls"][0];
    names += call.contains("id") ? 1 : 0;
    arguments[call["index"].get<size_t>()] += call["function"]["arguments"].get<std::string>();
  }
  EXPECT_EQ(names, 2);
  EXPECT_EQ(arguments[0], "{\"a\": \"\xc3\xa9\"}");
  EXPECT_EQ(arguments[1], "{}");
  // Without tools the same text is content.
  EXPECT_EQ(server.post("/v1/chat/completions", chat_body(text)).json()["choices"][0]["message"]["content"], text);
}

TEST(Server, StopStringsAndLogprobs) {
  TestServer server;
  const Json stopped = server.post("/v1/chat/completions", chat_body("one two three", R"("stop":["two","xx"])")).json()["choices"][0];
  EXPECT_EQ(stopped["message"]["content"], "one ");
  EXPECT_EQ(stopped["finish_reason"], "stop");
  EXPECT_EQ(stopped["stop_reason"], "two");
  const Json shown =
      server.post("/v1/chat/completions", chat_body("a\xc3\xa9", R"("logprobs":true,"top_logprobs":2)")).json()["choices"][0];
  const Json& content = shown["logprobs"]["content"];
  ASSERT_EQ(content.size(), 3U);
  EXPECT_EQ(content[0]["token"], "a");
  EXPECT_EQ(content[1]["bytes"], Json::array({0xc3}));
  EXPECT_EQ(content[2]["bytes"], Json::array({0xa9}));
  EXPECT_EQ(content[0]["top_logprobs"].size(), 2U);
  EXPECT_EQ(content[0]["logprob"], -0.5);
}

TEST(Server, Completions) {
  TestServer server;
  const Json one = server.post("/v1/completions", R"({"prompt":"abc","max_tokens":4})").json();
  EXPECT_EQ(one["object"], "text_completion");
  EXPECT_EQ(one["choices"][0]["text"], "defg");
  EXPECT_EQ(one["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(one["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(server.post("/v1/completions", R"({"prompt":"abc"})").json()["usage"]["completion_tokens"], 16);
  const Json ids = server.post("/v1/completions", R"({"prompt":[[97,98],[120]],"max_tokens":2,"n":2,"echo":true,"seed":1})").json();
  ASSERT_EQ(ids["choices"].size(), 4U);
  EXPECT_EQ(ids["choices"][1]["text"], "abcd");
  EXPECT_EQ(ids["choices"][2]["text"], "xyz");
  EXPECT_EQ(ids["choices"][3]["index"], 3);
  EXPECT_EQ(server.post("/v1/completions", R"({"prompt":"abc","max_tokens":0,"echo":true})").json()["choices"][0]["text"], "abc");
  const Json logprobs = server.post("/v1/completions", R"({"prompt":"abc","max_tokens":2,"logprobs":1})").json()["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["tokens"], Json::array({"d", "e"}));
  EXPECT_EQ(logprobs["text_offset"], Json::array({0, 1}));
  EXPECT_EQ(server.post("/v1/completions", R"({"prompt":"ab","suffix":"z","max_tokens":1})").json()["usage"]["prompt_tokens"], 6);
  std::string joined;
  for (const std::string& event : server.post("/v1/completions", R"({"prompt":"abc","max_tokens":4,"stream":true,"echo":true})").events()) {
    if (event != "[DONE]") joined += Json::parse(event)["choices"][0]["text"].get<std::string>();
  }
  EXPECT_EQ(joined, "abcdefg");
}

TEST(Server, TextRoutes) {
  TestServer server;
  const Json tokens = server.post("/tokenize", R"({"prompt":"ab<|im_end|>","return_token_strs":true})").json();
  EXPECT_EQ(tokens["tokens"], Json::array({97, 98, 258}));
  EXPECT_EQ(tokens["count"], 3);
  EXPECT_EQ(tokens["token_strs"][2], "<|im_end|>");
  const Json pieces = server.post("/tokenize", R"({"content":"é","with_pieces":true})").json();
  EXPECT_EQ(pieces["tokens"][0]["piece"], Json::array({0xc3}));
  EXPECT_EQ(server.post("/detokenize", R"({"tokens":[97,98,258]})").json()["prompt"], "ab<|im_end|>");
  EXPECT_EQ(server.post("/apply-template", chat_body("hi")).json()["prompt"], "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  // A user's text makes no control token.
  const Json chat = server.post("/tokenize", chat_body("<|im_end|>")).json();
  EXPECT_EQ(std::ranges::count(chat["tokens"], Json(258)), 1);
  EXPECT_EQ(server.post("/v1/embeddings", R"({"input":"x"})").status, 400);
}

struct BadField {
  const char* path;
  std::string body;
  const char* param;
};

TEST(Server, BadFieldsAreNamed) {
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

TEST(Server, BadJson) {
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

TEST(Server, UnknownModel) {
  TestServer server;
  const TestReply reply = server.post("/v1/chat/completions", chat_body("x", R"("model":"gpt")"));
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(error_code(reply), "model_not_found");
  EXPECT_EQ(server.post("/v1/chat/completions", chat_body("x", R"("model":"alias")")).status, 200);
}

TEST(Server, PromptsThatCannotFit) {
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

TEST(Server, Keys) {
  ServerOptions options;
  options.access.keys = {"secret", "other"};
  options.metrics_keys = {"scrape"};
  TestServer server(options);
  for (const char* path : {"/livez", "/health"}) EXPECT_EQ(server.get(path).status, 200);
  for (const char* path : {"/v1/models", "/metrics", "/version", "/nothing"}) {
    const TestReply reply = server.get(path);
    EXPECT_EQ(reply.status, 401) << path;
    EXPECT_EQ(reply.headers.at("www-authenticate"), "Bearer");
    EXPECT_TRUE(reply.headers.contains("x-request-id"));
  }
  EXPECT_EQ(server.get("/v1/models", "Authorization: Bearer wrong\r\n").status, 401);
  EXPECT_EQ(server.get("/v1/models", "Authorization: Bearer \xff\xfe\r\n").status, 401);
  EXPECT_EQ(server.get("/v1/models", "Authorization: Bearer secret\r\nAuthorization: Bearer secret\r\n").status, 401);
  EXPECT_EQ(server.get("/v1/models", "Authorization: Bearer secret\r\n").status, 200);
  EXPECT_EQ(server.get("/v1/models", "x-api-key: other\r\n").status, 200);
  EXPECT_EQ(server.get("/metrics", "Authorization: Bearer scrape\r\n").status, 200);
  EXPECT_EQ(server.get("/v1/models", "Authorization: Bearer scrape\r\n").status, 401);
}

TEST(Server, HostsAndOrigins) {
  TestServer server;
  TestClient client(server.server.port());
  client.send("GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  EXPECT_EQ(client.read().status, 403);
  EXPECT_EQ(server.get("/v1/models", "Origin: http://evil.example\r\n").status, 403);
  EXPECT_EQ(server.get("/v1/models", "Origin: http://localhost\r\n").status, 200);
  ServerOptions options;
  options.access.allowed_origins = {"http://page.example"};
  TestServer open(options);
  EXPECT_EQ(open.get("/v1/models", "Origin: http://page.example\r\n").headers.at("access-control-allow-origin"), "http://page.example");
}

// Once everything has ended, what came in is what went out.
TEST(Server, CountsBalance) {
  TestServer server({}, {.step_seconds = 0.002});
  for (int i = 0; i < 5; ++i) server.post("/v1/completions", R"({"prompt":"abc","max_tokens":4})");
  ASSERT_TRUE(server.becomes_idle(2));
  {
    TestClient leaves(server.server.port());
    leaves.request("POST", "/v1/completions", R"({"prompt":"abc","max_tokens":900,"stream":true})");
    ASSERT_TRUE(server.becomes_busy(1));
  }
  ASSERT_TRUE(server.becomes_idle(2));
  server.post("/v1/completions", R"({"prompt":7})");
  const std::string text = server.get("/metrics").body;
  const auto value = [&](const std::string& name) {
    const std::string key = "quern:" + name + "{model_name=\"echo\"} ";
    const size_t at = text.find(key);
    return at == text.npos ? -1 : std::stoi(text.substr(at + key.size()));
  };
  EXPECT_EQ(value("requests_accepted_total"), 6);
  EXPECT_EQ(value("requests_completed_total"), 5);
  EXPECT_EQ(value("requests_cancelled_total"), 1);
  EXPECT_EQ(value("requests_failed_total"), 0);
  EXPECT_EQ(value("requests_in_progress"), 0);
  EXPECT_EQ(value("requests_refused_total"), 1);
  EXPECT_EQ(value("kv_cache_usage_perc"), 0);
}

// The second turn reads what is new only.
TEST(Server, SecondTurnFindsThePrefix) {
  TestServer server;
  const std::string first(200, 'a');
  const Json one = server.post("/v1/chat/completions", chat_body(first)).json();
  const std::string second = R"({"messages":[{"role":"user","content":")" + first + R"("},{"role":"assistant","content":")" + first +
                             R"("},{"role":"user","content":"b"}]})";
  const Json two = server.post("/v1/chat/completions", second).json();
  EXPECT_GE(two["usage"]["prompt_tokens_details"]["cached_tokens"].get<int>(), 400);
  EXPECT_EQ(two["choices"][0]["message"]["content"], "b");
}

}  // namespace
}  // namespace quern::testing
