#include "server/openapi.h"

#include <gtest/gtest.h>

#include "server/routes.h"
#include "server/test_client.h"

namespace quern::testing {
namespace {

// The description names every route, and no field that a route does not read.
TEST(Server, DescribesItself) {
  TestServer server;
  const TestReply described = server.get("/openapi.json");
  ASSERT_EQ(described.status, 200) << described.body;
  const Json paths = described.json().at("paths");
  EXPECT_EQ(paths.size(), routes().size());
  for (const auto& [path, operations] : paths.items()) {
    if (!operations.contains("post")) continue;
    const bool is_refused = !operations.at("post").at("responses").contains("200");
    const Json& schema = operations.at("post").at("requestBody").at("content").at("application/json").at("schema");
    Json body = {{"messages", {{{"role", "user"}, {"content", "x"}}}}, {"prompt", "x"}, {"input", "x"}, {"tokens", {1}}, {"max_tokens", 3}};
    for (const auto& [name, unused] : schema.at("properties").items()) {
      if (!body.contains(name)) body[name] = nullptr;
    }
    if (path == "/tokenize") body.erase("messages");  // instead of the prompt
    for (const char* name : {"messages", "prompt", "input", "tokens", "max_tokens"}) {
      if (!schema.at("properties").contains(name)) body.erase(name);
    }
    const TestReply reply = server.post(path, body.dump());
    EXPECT_EQ(reply.status, is_refused ? 400 : 200) << path << ": " << reply.body;
    EXPECT_EQ(reply.headers.contains("x-quern-ignored") ? reply.headers.at("x-quern-ignored") : "", "") << path;
  }
}

}  // namespace
}  // namespace quern::testing
