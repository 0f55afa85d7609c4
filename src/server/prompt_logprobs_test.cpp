// Logprobs of prompts: echoed with an answer as OpenAI has them, and vLLM's prompt_logprobs. The echo model finds -0.5 for what it would
// have said itself (the next letter of the alphabet) and -5 for anything else.
#include <gtest/gtest.h>

#include "server/test_client.h"

namespace quern::testing {
namespace {

TEST(PromptLogprobs, EchoedBeforeTheAnswer) {
  TestServer server;
  for (const char* more : {"", R"(,"stream":true)"}) {
    const TestReply reply = server.post(
        "/v1/completions", std::string(R"({"prompt":["abx","q"],"max_tokens":2,"echo":true,"logprobs":1,"n":2,"seed":1)") + more + "}");
    ASSERT_EQ(reply.status, 200) << reply.body;
    std::vector<Json> choices = *more == 0 ? reply.json()["choices"].get<std::vector<Json>>() : std::vector<Json>();
    for (const std::string& event : *more == 0 ? std::vector<std::string>() : reply.events()) {
      if (event == "[DONE]") break;
      const Json part = Json::parse(event)["choices"][0];
      const auto index = part["index"].get<size_t>();
      choices.resize(std::max(choices.size(), index + 1));
      Json& whole = choices[index];
      if (whole.is_null()) {
        whole = part;
        continue;
      }
      whole["text"] = whole["text"].get<std::string>() + part["text"].get<std::string>();
      for (auto& [name, list] : whole["logprobs"].items())
        list.insert(list.end(), part["logprobs"][name].begin(), part["logprobs"][name].end());
    }
    ASSERT_EQ(choices.size(), 4U);
    for (const size_t i : {0, 1}) {
      EXPECT_EQ(choices[i]["text"], "abxyz");
      const Json& found = choices[i]["logprobs"];
      EXPECT_EQ(found["tokens"], Json::array({"a", "b", "x", "y", "z"}));
      EXPECT_EQ(found["token_logprobs"], Json::array({nullptr, -0.5, -5, -0.5, -0.5}));
      EXPECT_EQ(found["text_offset"], Json::array({0, 1, 2, 3, 4}));
      EXPECT_EQ(found["top_logprobs"][0], nullptr);
      EXPECT_EQ(found["top_logprobs"][2], Json({{"c", -0.5}, {"x", -5}}));
    }
    EXPECT_EQ(choices[3]["logprobs"]["token_logprobs"], Json::array({nullptr, -0.5, -0.5}));
  }
}

// What evaluation programs ask for: the prompt's logprobs and no answer.
TEST(PromptLogprobs, WithoutAnAnswer) {
  TestServer server;
  const Json reply = server.post("/v1/completions", R"({"prompt":[97,98,120],"max_tokens":0,"echo":true,"logprobs":0})").json();
  EXPECT_EQ(reply["choices"][0]["text"], "abx");
  EXPECT_EQ(reply["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(reply["choices"][0]["logprobs"]["token_logprobs"], Json::array({nullptr, -0.5, -5}));
  EXPECT_EQ(reply["usage"]["completion_tokens"], 0);
}

TEST(PromptLogprobs, AsVllmTellsThem) {
  TestServer server;
  for (int round = 0; round < 2; ++round) {  // the second finds the prompt in the cache and takes nothing from it
    const Json reply =
        server.post("/v1/completions", R"({"prompt":"abcdefghijklmnopqrstuvwxyz","max_tokens":1,"prompt_logprobs":2})").json();
    const Json& told = reply["choices"][0]["prompt_logprobs"];
    ASSERT_EQ(told.size(), 26U);
    EXPECT_EQ(told[0], nullptr);
    EXPECT_EQ(told[1]["98"], Json({{"logprob", -0.5}, {"rank", 1}, {"decoded_token", "b"}}));
    EXPECT_EQ(told[1]["99"], Json({{"logprob", -1.5}, {"rank", 2}, {"decoded_token", "c"}}));
    EXPECT_EQ(told[1].size(), 2U);
    EXPECT_EQ(reply["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  }
  const Json unlikely = server.post("/v1/completions", R"({"prompt":"ax","max_tokens":1,"prompt_logprobs":1})").json();
  EXPECT_EQ(unlikely["choices"][0]["prompt_logprobs"][1]["120"], Json({{"logprob", -5}, {"rank", nullptr}, {"decoded_token", "x"}}));
  const Json chat = server.post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"x"}],"prompt_logprobs":0,"n":2})").json();
  EXPECT_EQ(chat["prompt_logprobs"].size(), chat["usage"]["prompt_tokens"].get<size_t>());
  EXPECT_EQ(chat["choices"][1]["message"]["content"], "x");
}

}  // namespace
}  // namespace quern::testing
