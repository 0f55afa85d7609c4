// An event loop that sends HTTP/1.1 requests to one server and hands on the bodies as they come: kept connections, chunked or not, TLS for
// https. Everything on the thread that calls run().
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

struct ServerAddress {
  bool is_tls = false;
  std::string host, port, prefix;  // prefix: of every path, "" or "/proxy"
};
// Of "http://127.0.0.1:8000" or "https://host/prefix/". Throws usage.
ServerAddress parse_base_url(const std::string& url);

struct HttpOutcome {
  int status = 0;     // 0: no answer
  std::string error;  // why there is no answer, or why it ended early; "" when it is whole
};

class HttpClient {
 public:
  using Body = std::function<void(int status, std::string_view bytes)>;
  using End = std::function<void(const HttpOutcome& outcome)>;
  using Headers = std::vector<std::pair<std::string, std::string>>;

  // Looks the name up. Throws resource when there is no such host.
  HttpClient(const ServerAddress& address, Headers headers, double idle_seconds);
  ~HttpClient();

  // Sends on a connection that is free, or a new one. `body` may be called any number of times, `end` is called once. POST when there is
  // `content`, else GET.
  void send(const std::string& path, const std::string& content, Body body, End end);
  void after(double seconds, std::function<void()> work);
  // Until nothing is under way, or stop().
  void run();
  // From a callback: run() returns and forgets what is under way; none of it is called back.
  void stop();

 private:
  struct State;
  class Channel;
  std::unique_ptr<State> state_;
};

}  // namespace quern
