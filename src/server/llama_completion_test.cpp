// llama-server's routes as its clients use them.
#include <gtest/gtest.h>

#include "server/test_client.h"

namespace quern::testing {
namespace {

// llama-server's own form, streamed and not.
TEST(LlamaCompletion, WholeAndStreamed) {
  TestServer server;
  const Json whole =
      server.post("/completion", R"({"prompt":"abcabc","n_predict":4,"temperature":0,"cache_prompt":true,"return_tokens":true})").json();
  const TestReply reply = server.post("/completion", R"({"prompt":"abcabc","n_predict":4,"temperature":0,"stream":true})");
  const std::vector<std::string> events = reply.events();
  ASSERT_GE(events.size(), 1U) << reply.body;
  std::string text;
  for (size_t i = 0; i < events.size(); ++i) {
    const Json event = Json::parse(events[i]);
    EXPECT_EQ(event["stop"], i + 1 == events.size());
    text += event["content"].get<std::string>();
  }
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(whole["content"], text);
  EXPECT_EQ(whole["tokens"].size(), 4U);
  EXPECT_EQ(whole["prompt"], "abcabc");
  for (const Json& last : {whole, Json::parse(events.back())}) {
    EXPECT_EQ(last["stop_type"], "limit");
    EXPECT_EQ(last["tokens_predicted"], 4);
    EXPECT_EQ(last["tokens_evaluated"], 6);
    EXPECT_FALSE(last["truncated"].get<bool>());
    EXPECT_EQ(last["timings"]["predicted_n"], 4);
  }
  const Json stopped = server.post("/completion", R"({"prompt":"ab","n_predict":-1,"temperature":0,"stop":["e"]})").json();
  EXPECT_EQ(stopped["stop_type"], "word") << stopped;
  EXPECT_EQ(stopped["stopping_word"], "e");
  EXPECT_EQ(server.post("/completion", R"({"prompt":"a","n_probs":3})").json()["error"]["param"], "n_probs");
  EXPECT_EQ(server.post("/completion", R"({"prompt":[]})").json()["error"]["param"], "prompt");
}

// Routes of other servers that no model here can serve, with what to use instead.
TEST(LlamaCompletion, RoutesThatAreRefused) {
  TestServer server;
  for (const char* path : {"/v1/embeddings", "/rerank", "/v1/score", "/pooling", "/embedding", "/infill"}) {
    const TestReply refused = server.post(path, "{}");
    EXPECT_EQ(refused.status, 400) << path;
    EXPECT_EQ(refused.json()["error"]["code"], "unsupported_value") << path;
  }
  EXPECT_EQ(server.get("/props").json()["default_generation_settings"]["n_ctx"], 1024);
}

}  // namespace
}  // namespace quern::testing
