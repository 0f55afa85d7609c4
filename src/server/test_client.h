// For tests: a blocking HTTP client on a raw socket, and a server around the echo model.
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "server/echo_model.h"
#include "server/server.h"

namespace quern::testing {

struct TestReply {
  int status = 0;  // 0: the connection closed without an answer
  std::map<std::string, std::string> headers;
  std::string body;
  Json json() const { return Json::parse(body); }
  // The data of an event stream's events.
  std::vector<std::string> events() const {
    std::vector<std::string> found;
    for (size_t at = 0; (at = body.find("data: ", at)) != body.npos;) {
      const size_t end = body.find("\n\n", at);
      found.push_back(body.substr(at + 6, end - at - 6));
      at = end;
    }
    return found;
  }
};

class TestClient {
 public:
  explicit TestClient(uint16_t port, int receive_buffer = 0) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0, "connect");
  }
  ~TestClient() { close(); }
  TestClient(const TestClient&) = delete;

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // the other side closed: read() tells
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
  }
  void end_sending() { ::shutdown(socket_, SHUT_WR); }
  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }

  void request(const std::string& method, const std::string& path, const std::string& body = "", const std::string& headers = "") {
    std::string head = method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + headers;
    if (!body.empty() || method == "POST") head += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
    send(head + "\r\n" + body);
  }

  // Waits for `text` in what comes; false at the end of the stream or after `seconds`.
  bool wait_for(std::string_view text, double seconds = 10) {
    const double end = monotonic_seconds() + seconds;
    while (input_.find(text) == input_.npos) {
      if (!more(end - monotonic_seconds())) return false;
    }
    return true;
  }
  // True when the server closes within `seconds`.
  bool wait_for_close(double seconds = 10) {
    const double end = monotonic_seconds() + seconds;
    while (more(end - monotonic_seconds())) {
    }
    return is_closed_;
  }

  TestReply read(double seconds = 10) {
    TestReply reply;
    if (!wait_for("\r\n\r\n", seconds)) return reply;
    const size_t head = input_.find("\r\n\r\n") + 4;
    parse_head(input_.substr(0, head), reply);
    input_.erase(0, head);
    if (reply.headers.contains("content-length")) {
      const size_t length = std::stoul(reply.headers["content-length"]);
      const double end = monotonic_seconds() + seconds;
      while (input_.size() < length && more(end - monotonic_seconds())) {
      }
      reply.body = input_.substr(0, length);
      input_.erase(0, length);
    } else if (reply.headers["transfer-encoding"] == "chunked") {
      read_chunks(reply, seconds);
    } else if (reply.status >= 200) {
      wait_for_close(seconds);
      reply.body = std::exchange(input_, {});
    }
    return reply;
  }
  TestReply get(const std::string& path, const std::string& headers = "") { return request("GET", path, "", headers), read(); }
  TestReply post(const std::string& path, const std::string& body, const std::string& headers = "") {
    return request("POST", path, body, headers), read();
  }

 private:
  bool more(double seconds) {
    pollfd wanted = {socket_, POLLIN, 0};
    if (seconds <= 0 || ::poll(&wanted, 1, static_cast<int>(seconds * 1000)) <= 0) return false;
    char buffer[16384];
    const ssize_t size = ::recv(socket_, buffer, sizeof(buffer), 0);
    is_closed_ = size <= 0;
    if (size > 0) input_.append(buffer, static_cast<size_t>(size));
    return size > 0;
  }
  static void parse_head(const std::string& head, TestReply& reply) {
    reply.status = std::stoi(head.substr(9, 3));
    for (size_t at = head.find("\r\n") + 2; at + 2 < head.size();) {
      const size_t end = head.find("\r\n", at), colon = head.find(": ", at);
      std::string name = head.substr(at, colon - at);
      for (char& c : name) c = static_cast<char>(std::tolower(c));
      reply.headers[name] = head.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
  }
  void read_chunks(TestReply& reply, double seconds) {
    for (;;) {
      if (!wait_for("\r\n", seconds)) return;
      const size_t line = input_.find("\r\n");
      const size_t size = std::stoul(input_.substr(0, line), nullptr, 16);
      const double end = monotonic_seconds() + seconds;
      while (input_.size() < line + 2 + size + 2 && more(end - monotonic_seconds())) {
      }
      reply.body += input_.substr(line + 2, size);
      input_.erase(0, line + 2 + size + 2);
      if (size == 0) return;
    }
  }

  int socket_;
  std::string input_;
  bool is_closed_ = false;
};

// Serves the echo model from construction on.
struct TestServer {
  explicit TestServer(ServerOptions options = {}, const EchoOptions& echo = {}, EngineOptions engine_options = {})
      : engine(echo_engine(echo, engine_options)), server(prepared(std::move(options))) {
    engine->start();
    server.start();
    server.serve({.engine = engine.get(), .names = {"echo", "alias"}, .fingerprint = "quern-test", .created = 1});
  }
  ~TestServer() {
    server.stop();
    engine->stop();
  }

  static ServerOptions prepared(ServerOptions options) {
    set_log_level(LogLevel::off);
    options.http.port = 0;
    return options;
  }
  TestReply get(const std::string& path, const std::string& headers = "") { return TestClient(server.port()).get(path, headers); }
  TestReply post(const std::string& path, const std::string& body, const std::string& headers = "") {
    return TestClient(server.port()).post(path, body, headers);
  }
  // Waits until nothing holds a KV block; false when that takes longer than `seconds`.
  bool becomes_idle(double seconds) {
    const double end = monotonic_seconds() + seconds;
    while (monotonic_seconds() < end) {
      const EngineStats stats = engine->stats();
      if (stats.running + stats.waiting == 0 && stats.kv_blocks_used == 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }
  bool becomes_busy(size_t running, double seconds = 5) {
    const double end = monotonic_seconds() + seconds;
    while (monotonic_seconds() < end) {
      if (engine->stats().running >= running) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  std::unique_ptr<Engine> engine;
  Server server;
};

inline std::string chat_body(const std::string& user, const std::string& more = "") {
  return R"({"messages":[{"role":"user","content":)" + Json(user).dump() + "}]" + (more.empty() ? "" : "," + more) + "}";
}

}  // namespace quern::testing
