// The chat page: who gets it, and the policy it comes with.
#include "server/chat_page.h"

#include <gtest/gtest.h>

#include "server/test_client.h"

namespace quern {
namespace {

using testing::TestReply;
using testing::TestServer;

TEST(ChatPage, IsServedWithoutAKeyAndObeysTheHostCheck) {
  ServerOptions options;
  options.access.keys = {"alpha"};
  TestServer server(std::move(options));
  const TestReply page = server.get("/");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_TRUE(page.body.starts_with("<!doctype html>"));
  EXPECT_EQ(page.body, chat_page_text());
  EXPECT_EQ(server.get("/?x=1").status, 200);
  EXPECT_EQ(server.get("/v1/models").status, 401);
  EXPECT_EQ(server.get("/index.html", "Authorization: Bearer alpha\r\n").status, 404);
  EXPECT_EQ(server.post("/", "{}", "Authorization: Bearer alpha\r\n").status, 405);
  testing::TestClient client(server.server.port());
  client.send("GET / HTTP/1.1\r\nHost: rebound.example\r\n\r\n");
  EXPECT_EQ(client.read().status, 403);
}

TEST(ChatPage, CanBeSwitchedOff) {
  ServerOptions options;
  options.has_page = false;
  TestServer server(std::move(options));
  EXPECT_EQ(server.get("/").status, 404);
  EXPECT_EQ(server.post("/", "{}").status, 404);
  EXPECT_EQ(server.get("/livez").status, 200);
}

TEST(ChatPage, PolicyNamesItsOneScriptAndStyleByHash) {
  // SHA-256 of "a" and of "abc" in base64, from another implementation (printf a | openssl dgst -sha256 -binary | base64).
  const HttpReply reply = chat_page_reply("<style>abc</style><script>a</script>");
  std::string policy;
  for (const HttpHeader& header : reply.headers) policy += header.name == "Content-Security-Policy" ? header.value : "";
  EXPECT_NE(policy.find("default-src 'none'"), policy.npos);
  EXPECT_NE(policy.find("script-src 'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=';"), policy.npos) << policy;
  EXPECT_NE(policy.find("style-src 'sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=';"), policy.npos) << policy;
  EXPECT_NE(policy.find("require-trusted-types-for 'script'"), policy.npos);
  EXPECT_EQ(policy.find("unsafe"), policy.npos);
}

// One script element, one style element, no handler attributes, and nothing from another place: the page works offline.
TEST(ChatPage, NeedsNothingElse) {
  const std::string_view page = chat_page_text();
  const auto count = [&](std::string_view text) {
    size_t found = 0;
    for (size_t at = page.find(text); at != page.npos; at = page.find(text, at + 1)) ++found;
    return found;
  };
  EXPECT_EQ(count("</script"), 1U);
  EXPECT_EQ(count("</style"), 1U);
  EXPECT_EQ(count("<!--"), 0U);
  const std::string_view markup = page.substr(0, page.find("<script>"));
  EXPECT_EQ(markup.find(" src="), markup.npos);
  EXPECT_EQ(markup.find("onclick"), markup.npos);
  EXPECT_EQ(markup.find("href=\"http"), markup.npos);
}

}  // namespace
}  // namespace quern
