// Clients that misbehave, and a server that loads, drains or is full: one clear answer, nothing left behind, good clients served.
#include <gtest/gtest.h>

#include <random>

#include "server/server.h"
#include "server/test_client.h"

namespace quern::testing {
namespace {

std::string error_code(const TestReply& reply) { return reply.json()["error"]["code"]; }

TEST(ServerClients, LoadingAndDraining) {
  set_log_level(LogLevel::off);
  ServerOptions options;
  options.http.port = 0;
  Server server(options);
  server.start();
  TestClient client(server.port());
  const TestReply loading = client.get("/health");
  EXPECT_EQ(loading.status, 503);
  EXPECT_EQ(loading.json()["error"]["message"], "Loading model");
  EXPECT_TRUE(loading.headers.contains("retry-after"));
  EXPECT_EQ(client.get("/livez").status, 200);
  EXPECT_EQ(client.post("/v1/completions", R"({"prompt":"a"})").status, 503);
  const std::unique_ptr<Engine> engine = echo_engine();
  engine->start();
  server.serve({.engine = engine.get(), .names = {"echo"}});
  EXPECT_EQ(client.get("/health").status, 200);
  server.drain();
  TestClient late(server.port());
  EXPECT_EQ(late.get("/health").status, 503);
  server.stop();
  engine->stop();
}

// Streams that are running end in full; what is left at the end gets a last event.
TEST(ServerClients, DrainsAndEndsWithAnError) {
  TestServer server({}, {.step_seconds = 0.005});
  TestClient quick(server.server.port()), slow(server.server.port());
  quick.request("POST", "/v1/completions", R"({"prompt":"abc","max_tokens":20,"stream":true})");
  slow.request("POST", "/v1/completions", R"({"prompt":"abc","max_tokens":900,"stream":true})");
  ASSERT_TRUE(server.becomes_busy(2));
  server.server.drain();
  EXPECT_EQ(server.post("/v1/completions", R"({"prompt":"a"})").status, 503);
  EXPECT_EQ(quick.read().events().back(), "[DONE]");
  EXPECT_EQ(server.server.num_active(), 1U);
  server.server.stop();
  const std::vector<std::string> events = slow.read().events();
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(Json::parse(events.back())["error"]["code"], "draining");
  EXPECT_TRUE(server.becomes_idle(1));
}

TEST(ServerClients, FullQueueIs429) {
  ServerOptions options;
  options.max_waiting = 4;
  TestServer server(options, {.step_seconds = 0.02}, {.max_num_seqs = 1});
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 12; ++i) {
    clients.push_back(std::make_unique<TestClient>(server.server.port()));
    clients.back()->request("POST", "/v1/completions", R"({"prompt":"abc","max_tokens":3})");
  }
  int answered = 0, refused = 0;
  for (const auto& client : clients) {
    const TestReply reply = client->read();
    answered += reply.status == 200 ? 1 : 0;
    if (reply.status != 429) continue;
    ++refused;
    EXPECT_TRUE(reply.headers.contains("retry-after") && reply.headers.contains("retry-after-ms"));
    EXPECT_EQ(error_code(reply), "queue_full");
  }
  EXPECT_EQ(answered + refused, 12);
  EXPECT_GE(answered, 4);
  EXPECT_GE(refused, 6);
}

TEST(ServerClients, TimeLimits) {
  ServerOptions options;
  options.queue_timeout = 0.3;
  options.request_timeout = 1;
  TestServer server(options, {.step_seconds = 0.01}, {.max_num_seqs = 1});
  TestClient running(server.server.port()), queued(server.server.port());
  running.request("POST", "/v1/completions", R"({"prompt":"abc","max_tokens":900,"stream":true})");
  ASSERT_TRUE(server.becomes_busy(1));
  queued.request("POST", "/v1/completions", R"({"prompt":"abc","max_tokens":5})");
  const TestReply late = queued.read();
  EXPECT_EQ(late.status, 503);
  EXPECT_EQ(error_code(late), "queue_timeout");
  const std::vector<std::string> events = running.read().events();
  EXPECT_EQ(Json::parse(events.back())["error"]["code"], "timeout");
  EXPECT_TRUE(server.becomes_idle(1));
}

// Streaming and not, running and in the queue: what the client leaves behind is gone within a step and 200 ms.
TEST(ServerClients, ClientsThatLeaveFreeTheirBlocks) {
  for (const char* mode : {"true", "false"}) {
    for (const bool is_queued : {false, true}) {
      TestServer server({}, {.step_seconds = 0.01}, {.max_num_seqs = 1});
      TestClient first(server.server.port());
      first.request("POST", "/v1/completions", fmt::format(R"({{"prompt":"abc","max_tokens":900,"stream":{}}})", mode));
      ASSERT_TRUE(server.becomes_busy(1));
      TestClient second(server.server.port());
      if (is_queued) {
        second.request("POST", "/v1/completions", fmt::format(R"({{"prompt":"abc","max_tokens":900,"stream":{}}})", mode));
        const double end = monotonic_seconds() + 5;
        while (server.engine->stats().waiting == 0 && monotonic_seconds() < end) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        ASSERT_EQ(server.engine->stats().waiting, 1U);
        second.close();
        const double start = monotonic_seconds();
        while (server.engine->stats().waiting > 0 && monotonic_seconds() < start + 5)
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        EXPECT_LT(monotonic_seconds() - start, 0.2);
      }
      const double start = monotonic_seconds();
      first.close();
      EXPECT_TRUE(server.becomes_idle(5)) << mode;
      EXPECT_LT(monotonic_seconds() - start, 0.2);
      const EngineStats stats = server.engine->stats();
      EXPECT_EQ(stats.accepted, stats.cancelled);
    }
  }
}

TEST(ServerClients, HalfClosedSockets) {
  TestServer server({}, {.step_seconds = 0.01});
  TestClient client(server.server.port());
  client.request("POST", "/v1/completions", R"({"prompt":"abc","max_tokens":900})");
  ASSERT_TRUE(server.becomes_busy(1));
  client.end_sending();
  EXPECT_TRUE(server.becomes_idle(2)) << "a FIN counts as gone";
  ServerOptions options;
  options.http.limits.keeps_half_closed = true;
  TestServer keeps(options);
  TestClient patient(keeps.server.port());
  patient.request("POST", "/v1/completions", R"({"prompt":"abc","max_tokens":4})");
  patient.end_sending();
  EXPECT_EQ(patient.read().json()["choices"][0]["text"], "defg");
}

// The reader of one stream stops; the others go on, and after a while it is cut.
TEST(ServerClients, SlowReaders) {
  ServerOptions options;
  options.http.limits.stalled_seconds = 1;
  TestServer server(options, {.num_blocks = 4096}, {.max_model_len = 32768});
  TestClient stuck(server.server.port(), 4096);
  stuck.request("POST", "/v1/completions", R"({"prompt":"abc","max_tokens":30000,"stream":true,"logprobs":20})");
  ASSERT_TRUE(server.becomes_busy(1));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(server.post("/v1/completions", R"({"prompt":"abc","max_tokens":4})").status, 200);
  EXPECT_TRUE(server.becomes_idle(20));
  EXPECT_TRUE(stuck.wait_for_close(10));
}

TEST(ServerClients, PipelinedRequestsAreAnsweredInOrder) {
  TestServer server;
  TestClient client(server.server.port());
  std::string bytes;
  for (int i = 0; i < 100; ++i) {
    const std::string body = fmt::format(R"({{"prompt":"x{}","max_tokens":1,"echo":true}})", i);
    bytes += fmt::format("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}", body.size(), body);
  }
  client.send(bytes);
  for (int i = 0; i < 100; ++i) {
    const TestReply reply = client.read();
    ASSERT_EQ(reply.status, 200) << i;
    EXPECT_TRUE(reply.json()["choices"][0]["text"].get<std::string>().starts_with(fmt::format("x{}", i)));
  }
}

TEST(ServerClients, HttpDetails) {
  TestServer server;
  TestClient expects(server.server.port());
  expects.send("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 14\r\n\r\n");
  EXPECT_EQ(expects.read().status, 100);
  expects.send(R"({"prompt":"a"})");
  EXPECT_EQ(expects.read().status, 200);
  // HTTP/1.0: the stream ends with the connection.
  TestClient old(server.server.port());
  const std::string body = R"({"prompt":"a","max_tokens":3,"stream":true})";
  old.send(fmt::format("POST /v1/completions HTTP/1.0\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
  EXPECT_EQ(old.read().events().back(), "[DONE]");
  // An upgrade is not taken.
  EXPECT_EQ(server.get("/health", "Upgrade: websocket\r\nConnection: Upgrade\r\n").status, 200);
  // A body that is too large is refused, and the client gets to read it.
  ServerOptions options;
  options.http.limits.http.body_bytes = 1000;
  TestServer small(options);
  EXPECT_EQ(small.post("/v1/completions", std::string(500'000, ' ')).status, 413);
  TestClient garbage(server.server.port());
  garbage.send("\x16\x03\x01\x02garbage\r\n\r\n");
  EXPECT_EQ(garbage.read().status, 400);
  EXPECT_TRUE(garbage.wait_for_close(5));
}

TEST(ServerClients, SlowRequestsAreCut) {
  ServerOptions options;
  options.http.limits.header_seconds = 0.5;
  options.http.limits.body_idle_seconds = 0.5;
  TestServer server(options);
  TestClient head(server.server.port()), body(server.server.port()), silent(server.server.port());
  head.send("GET /health HTTP/1.1\r\nHost: ");
  body.send("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{");
  EXPECT_EQ(head.read(3).status, 408);
  EXPECT_EQ(body.read(3).status, 408);
  EXPECT_TRUE(silent.wait_for_close(3));
  EXPECT_EQ(server.get("/health").status, 200);
}

TEST(ServerClients, ManyIdleConnectionsLeaveRoom) {
  ServerOptions options;
  options.http.max_connections = 16;
  TestServer server(options);
  std::vector<std::unique_ptr<TestClient>> idle;
  for (int i = 0; i < 100; ++i) idle.push_back(std::make_unique<TestClient>(server.server.port()));
  EXPECT_EQ(server.get("/health").status, 200);
  EXPECT_EQ(server.post("/v1/completions", R"({"prompt":"a"})").status, 200);
}

// Requests with bytes exchanged, dropped and doubled: whatever comes back, the next good request is answered as ever.
TEST(ServerClients, MutatedRequests) {
  TestServer server;
  const std::string body =
      chat_body("Hello", R"("max_tokens":5,"stop":["x"],"logit_bias":{"1":2},"tools":[{"type":"function","function":{"name":"f"}}])");
  const std::string good = fmt::format(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}", body.size(), body);
  std::mt19937 random(11);
  for (int round = 0; round < 400; ++round) {
    std::string bytes = good;
    const size_t first = round % 2 == 0 ? good.find("\r\n\r\n") + 4 : 0;  // every other time the head stays as it is
    for (unsigned change = 0; change <= random() % 4; ++change) {
      const size_t at = first + random() % (bytes.size() - first);
      switch (random() % 4) {
        case 0: bytes[at] = static_cast<char>(random()); break;
        case 1: bytes.erase(at, 1 + random() % 20); break;
        case 2: bytes.insert(at, bytes.substr(at, 1 + random() % 20)); break;
        default: bytes[at] ^= static_cast<char>(1U << random() % 8); break;
      }
      if (bytes.size() <= first + 30) break;
    }
    TestClient client(server.server.port());
    client.send(bytes);
    client.end_sending();
    EXPECT_TRUE(client.wait_for_close(10)) << "round " << round;
  }
  EXPECT_EQ(server.post("/v1/chat/completions", chat_body("still here")).json()["choices"][0]["message"]["content"], "still here");
  EXPECT_TRUE(server.becomes_idle(2));
}

}  // namespace
}  // namespace quern::testing
