// Answers as bytes become times and counts; and whole runs against a server that answers as the test says.
#include "load/load_run.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "load/answer_stream.h"

namespace quern {
namespace {

constexpr const char* kRole = R"(data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]})"
                              "\n\n";
constexpr const char* kHello = R"(data: {"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}],"usage":null})"
                               "\n\n";
constexpr const char* kThought = R"(data: {"choices":[{"index":0,"delta":{"reasoning_content":"Hm"},"finish_reason":null}]})"
                                 "\n\n";
constexpr const char* kHeldBack = R"(data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":null}]})"
                                  "\n\n";
constexpr const char* kFinish = R"(data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]})"
                                "\n\n";
constexpr const char* kUsage = R"(data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":4}})"
                               "\n\n";
constexpr const char* kDone = "data: [DONE]\n\n";
constexpr const char* kText = R"(data: {"choices":[{"index":0,"text":" a","finish_reason":null}]})"
                              "\n\n";
constexpr const char* kLastText = R"(data: {"choices":[{"index":0,"text":" b","finish_reason":"length"}]})"
                                  "\n\n";
constexpr const char* kNoText = R"(data: {"choices":[{"index":0,"text":"","finish_reason":"length"}]})"
                                "\n\n";

TEST(AnswerStream, PiecesAreTokensAndNothingElse) {
  const struct {
    std::vector<const char*> events;
    std::vector<double> times;  // event i comes at second i
    size_t output_tokens;
  } cases[] = {
      {{kRole, kThought, kHello, kHeldBack, kFinish, kUsage, kDone}, {1, 2, 3}, 4},
      {{kText, kText, kNoText, kDone}, {0, 1}, 2},  // without usage a piece is a token
      {{kText, kLastText, kUsage, kDone}, {0, 1}, 4},
      {{": ping\n\n", kText, "event: x\n", kNoText, kDone}, {1}, 1},
  };
  for (const auto& each : cases) {
    RequestRecord record;
    AnswerStream stream(record);
    for (size_t i = 0; i < each.events.size(); ++i) stream.take(each.events[i], static_cast<double>(i));
    stream.finish(200, "");
    EXPECT_TRUE(record.is_ok) << record.error;
    EXPECT_EQ(record.token_times, each.times);
    EXPECT_EQ(record.output_tokens, each.output_tokens);
  }
}

TEST(AnswerStream, IsTheSameAtEverySplit) {
  const std::string whole =
      std::string(kRole) + kHello + kThought + kFinish + "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7}}\r\n\r\n" + kDone;
  for (size_t split = 1; split < whole.size(); ++split) {
    RequestRecord record;
    AnswerStream stream(record);
    stream.take(std::string_view(whole).substr(0, split), 1);
    stream.take(std::string_view(whole).substr(split), 1);
    stream.finish(200, "");
    ASSERT_TRUE(record.is_ok) << split << record.error;
    ASSERT_EQ(record.token_times.size(), 2U) << split;
    ASSERT_EQ(record.prompt_tokens, 7U) << split;
  }
}

TEST(AnswerStream, SaysWhyAnAnswerIsNone) {
  const struct {
    std::string body;
    int status;
    const char* error;
    const char* says;
  } cases[] = {
      {R"({"error":{"message":"too long","type":"x"}})", 400, "", "status 400: too long"},
      {"<html>no</html>", 502, "", "status 502: <html>no</html>"},
      {std::string(kText) + R"(data: {"error":{"message":"shutting down"}})" + "\n\n", 200, "", "shutting down"},
      {kText, 200, "", "without [DONE]"},
      {kText, 200, "the server closed the connection", "closed"},
      {kDone, 200, "", "no text"},
      {"data: {\"choices\":[}\n\n", 200, "", "event"},
      {"data: [1,2]\n\ndata: 7\n\ndata: {\"choices\":7}\n\n", 200, "", "without [DONE]"},
      {"", 0, "Connection refused", "refused"},
  };
  for (const auto& each : cases) {
    RequestRecord record;
    AnswerStream stream(record);
    stream.take(each.body, 1);
    stream.finish(each.status, each.error);
    EXPECT_FALSE(record.is_ok);
    EXPECT_NE(record.error.find(each.says), std::string::npos) << record.error;
  }
}

// Accepts connections and answers the n-th request with script(n, request): the bytes of the reply; an empty reply closes.
class FakeServer {
 public:
  using Script = std::function<std::vector<std::string>(size_t number, const std::string& request)>;

  explicit FakeServer(Script script) : script_(std::move(script)), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 && ::listen(listener_, 64) == 0, "listen");
    socklen_t size = sizeof(address);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { accept(); });
  }
  ~FakeServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    for (std::thread& each : connections_) each.join();
    ::close(listener_);
  }

  std::string url() const { return fmt::format("http://127.0.0.1:{}/api/", port_); }
  size_t num_connections() const { return num_connections_; }
  size_t most_at_once() const { return most_at_once_; }

 private:
  void accept() {
    for (;;) {
      const int socket = ::accept(listener_, nullptr, nullptr);
      if (socket < 0) return;
      ++num_connections_;
      connections_.emplace_back([this, socket] { talk(socket); });
    }
  }
  void talk(int socket) {
    std::string input;
    char buffer[65536];
    for (;;) {
      const size_t head = input.find("\r\n\r\n");
      const size_t length_at = input.find("Content-Length: ");
      const size_t length = length_at < head ? std::stoul(input.substr(length_at + 16)) : 0;
      if (head == input.npos || input.size() < head + 4 + length) {
        const ssize_t size = ::recv(socket, buffer, sizeof(buffer), 0);
        if (size <= 0) break;
        input.append(buffer, static_cast<size_t>(size));
        continue;
      }
      const size_t at_once = ++at_once_;
      for (size_t most = most_at_once_; at_once > most && !most_at_once_.compare_exchange_weak(most, at_once);) {
      }
      const std::vector<std::string> reply = script_(number_++, input.substr(0, head + 4 + length));
      input.erase(0, head + 4 + length);
      for (const std::string& piece : reply) {
        if (piece == "close") break;
        ::send(socket, piece.data(), piece.size(), MSG_NOSIGNAL);
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
      --at_once_;
      if (reply.empty() || reply.back() == "close") break;
    }
    ::close(socket);
  }

  Script script_;
  int listener_;
  uint16_t port_ = 0;
  std::atomic<size_t> number_ = 0, num_connections_ = 0, at_once_ = 0, most_at_once_ = 0;
  std::thread thread_;
  std::vector<std::thread> connections_;
};

std::string chunk(const std::string& text) { return fmt::format("{:x}\r\n{}\r\n", text.size(), text); }
constexpr const char* kStreamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

std::vector<LoadPrompt> prompts(size_t count) {
  return std::vector<LoadPrompt>(count, {.text = "one two", .prompt_tokens = 2, .output_tokens = 2});
}

TEST(LoadRun, KeepsConnectionsAndItsBoundOnRequests) {
  std::mutex mutex;
  std::vector<std::string> requests;
  FakeServer server([&](size_t, const std::string& request) {
    const std::lock_guard lock(mutex);
    requests.push_back(request);
    return std::vector<std::string>{kStreamHead, chunk(kText), chunk(kText), chunk(kNoText) + chunk(kUsage), chunk(kDone) + "0\r\n\r\n"};
  });
  HttpClient client(parse_base_url(server.url()), {{"Authorization", "Bearer k"}}, 10);
  LoadOptions options;
  options.model = "m";
  options.max_concurrency = 3;
  options.ignores_eos = true;
  options.extra_body = {{"top_k", 5}};
  const LoadResult result = run_load(client, prompts(20), options, [](size_t) { return true; });
  for (const RequestRecord& record : result.records) {
    EXPECT_TRUE(record.is_ok) << record.error;
    EXPECT_EQ(record.prompt_tokens, 7U);
    EXPECT_EQ(record.output_tokens, 4U);
    ASSERT_EQ(record.token_times.size(), 2U);
    EXPECT_LE(record.start, record.first());
    EXPECT_LE(record.first(), record.last());  // equal when both came in one read
    EXPECT_LE(record.last() - record.start, result.duration);
  }
  EXPECT_EQ(server.num_connections(), 3U);
  EXPECT_EQ(server.most_at_once(), 3U);
  ASSERT_EQ(requests.size(), 20U);
  EXPECT_TRUE(requests[0].starts_with("POST /api/v1/completions HTTP/1.1\r\n")) << requests[0];
  EXPECT_NE(requests[0].find("\r\nAuthorization: Bearer k\r\n"), std::string::npos);
  const Json body = parse_json(requests[0].substr(requests[0].find("\r\n\r\n") + 4), "body");
  const Json want = {{"model", "m"},   {"prompt", "one two"}, {"max_tokens", 2},    {"temperature", 0},
                     {"stream", true}, {"top_k", 5},          {"ignore_eos", true}, {"stream_options", {{"include_usage", true}}}};
  EXPECT_EQ(body, want);
}

TEST(LoadRun, FailuresOfOneRequestAreItsOwn) {
  FakeServer server([](size_t number, const std::string&) -> std::vector<std::string> {
    switch (number % 5) {
      case 0: return {kStreamHead, chunk(kText), chunk(kLastText) + chunk(kDone) + "0\r\n\r\n"};
      case 1: return {"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 29\r\n\r\n{\"error\":{\"message\":\"queue\"}}\n"};
      case 2: return {kStreamHead, chunk(kText), "close"};
      case 3: return {"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", kText, std::string(kLastText) + kDone, "close"};  // ends by closing
      default: return {"nonsense\r\n\r\n", "close"};
    }
  });
  HttpClient client(parse_base_url(server.url()), {}, 10);
  LoadOptions options;
  options.max_concurrency = 1;
  const LoadResult result = run_load(client, prompts(5), options, [](size_t) { return true; });
  EXPECT_TRUE(result.records[0].is_ok) << result.records[0].error;
  EXPECT_EQ(result.records[1].error.substr(0, 17), "status 429: queue") << result.records[1].error;
  EXPECT_FALSE(result.records[2].is_ok);
  EXPECT_FALSE(result.records[3].is_ok && result.records[3].output_tokens != 2);
  EXPECT_NE(result.records[4].error.find("HTTP"), std::string::npos) << result.records[4].error;
}

TEST(LoadRun, AKeptConnectionThatWasClosedIsOpenedAgain) {
  FakeServer server([](size_t, const std::string&) -> std::vector<std::string> {
    return {std::string(kStreamHead) + chunk(std::string(kText) + kDone) + "0\r\n\r\n", "close"};  // says keep-alive, and closes
  });
  HttpClient client(parse_base_url(server.url()), {}, 10);
  LoadOptions options;
  options.rate = 20;  // so that the closing is known before the next request
  const LoadResult result = run_load(client, prompts(5), options, [](size_t) { return true; });
  size_t good = 0;
  for (const RequestRecord& record : result.records) good += record.is_ok ? 1 : 0;
  EXPECT_EQ(good, 5U) << result.records.back().error;
  EXPECT_GE(result.duration, 4 / 20.0);
}

TEST(LoadRun, StopsWhenAsked) {
  FakeServer server([](size_t, const std::string&) { return std::vector<std::string>{kStreamHead}; });  // and then nothing
  HttpClient client(parse_base_url(server.url()), {}, 0.5);
  int calls = 0;
  const LoadResult stopped = run_load(client, prompts(1), {}, [&](size_t) { return ++calls < 3; });
  EXPECT_TRUE(stopped.is_stopped);
  EXPECT_EQ(stopped.records[0].error, "stopped");
  const LoadResult silent = run_load(client, prompts(1), {}, [](size_t) { return true; });
  EXPECT_EQ(silent.records[0].error, "no byte for too long");
}

TEST(BaseUrl, IsReadInFull) {
  const ServerAddress plain = parse_base_url("http://localhost:8000");
  EXPECT_EQ(plain.host + "|" + plain.port + "|" + plain.prefix, "localhost|8000|");
  const ServerAddress far = parse_base_url("https://example.org/v2/api/");
  EXPECT_TRUE(far.is_tls);
  EXPECT_EQ(far.host + "|" + far.port + "|" + far.prefix, "example.org|443|/v2/api");
  EXPECT_EQ(parse_base_url("http://[::1]:9").host, "::1");
  for (const char* bad :
       {"", "localhost:8000", "ftp://x", "http://", "http://:80", "http://x:0", "http://x:70000", "http://x:a", "http://[::1"}) {
    EXPECT_THROW(parse_base_url(bad), Error) << bad;
  }
}

size_t words_in(const std::string& text) { return static_cast<size_t>(std::ranges::count(text, ' ')); }

TEST(RandomPrompts, HaveTheirLengthsAndAreDifferent) {
  const RandomPrompts options{.count = 300, .input_tokens = 100, .output_tokens = 20, .prefix_tokens = 7, .range_ratio = 0.25, .seed = 5};
  const std::vector<LoadPrompt> made = random_prompts(options, {});
  size_t shortest = 1000, longest = 0;
  for (const LoadPrompt& prompt : made) {
    EXPECT_EQ(words_in(prompt.text), prompt.prompt_tokens);
    EXPECT_EQ(prompt.text.substr(0, 20), made[0].text.substr(0, 20));
    EXPECT_TRUE(prompt.output_tokens >= 15 && prompt.output_tokens <= 25);
    shortest = std::min(shortest, prompt.prompt_tokens);
    longest = std::max(longest, prompt.prompt_tokens);
  }
  EXPECT_TRUE(shortest >= 82 && shortest < 88) << shortest;
  EXPECT_TRUE(longest <= 132 && longest > 126) << longest;
  EXPECT_NE(made[0].text, made[1].text);
  EXPECT_EQ(random_prompts(options, {})[299].text, made[299].text);
  // A counter for which a word is two tokens.
  for (const LoadPrompt& prompt :
       random_prompts({.count = 5, .input_tokens = 40}, [](const std::string& text) { return 2 * words_in(text); })) {
    EXPECT_EQ(words_in(prompt.text), 20U);
  }
}

TEST(PromptFiles, AreReadOrRefusedWithTheirLine) {
  const std::string path = fmt::format("{}load_prompts_{}.jsonl", ::testing::TempDir(), ::getpid());
  const auto write = [&](const std::string& text) { std::ofstream(path) << text; };
  write("{\"prompt\": \"a b\", \"output_tokens\": 3}\n\n{\"prompt\": \"c\"}\n");
  const std::vector<LoadPrompt> custom = custom_prompts(path, 3, 9, {});
  ASSERT_EQ(custom.size(), 3U);
  EXPECT_EQ(custom[0].output_tokens, 3U);
  EXPECT_EQ(custom[1].output_tokens, 9U);
  EXPECT_EQ(custom[2].text, "a b");
  for (const char* bad : {"", "{\"prompt\": 7}\n", "{\"prompt\": \"x\", \"output_tokens\": 0}\n", "[]\n", "{\n"}) {
    write(bad);
    EXPECT_THROW(custom_prompts(path, 3, 9, {}), Error) << bad;
  }
  const std::string turn = R"({"value": "one two three four five six"})";
  write("[{\"conversations\": [" + turn + "," + turn + "]}, {\"conversations\": [" + turn + "]}, 7, {\"conversations\": [7, 8]}, {}]");
  EXPECT_EQ(sharegpt_prompts(path, 10, {}, 1, {}).size(), 1U);
  EXPECT_EQ(sharegpt_prompts(path, 10, 50, 1, {})[0].output_tokens, 50U);
  for (const char* bad : {"{}", "[]", "[7]", "[{\"conversations\": 1}]"}) {
    write(bad);
    EXPECT_THROW(sharegpt_prompts(path, 10, {}, 1, {}), Error) << bad;
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace quern
