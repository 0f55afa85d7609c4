// Listens, accepts, owns the connections and the thread that they live on. Everything of a request happens on that one thread, but for
// what is handed to others and comes back by post().
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "server/connection.h"

namespace quern {

struct HttpServerOptions {
  std::string host = "127.0.0.1";  // a numeric address
  uint16_t port = 8000;            // 0: any free one
  size_t max_connections = 1024;
  std::string tls_certificate, tls_key;  // PEM files; both or none
  ConnectionLimits limits;
};

class HttpServer {
 public:
  using Handler = std::function<void(std::shared_ptr<Exchange>)>;

  // Binds and listens. Throws resource when the address is taken, usage when it is none or the TLS files are not usable.
  explicit HttpServer(const HttpServerOptions& options);
  ~HttpServer();  // stop()

  uint16_t port() const;
  // Starts the thread. `handler` gets each request, `tick` is called ten times a second; both on the loop's thread.
  void start(Handler handler, std::function<void()> tick);
  // From any thread: runs `work` on the loop's thread; dropped after stop().
  void post(std::function<void()> work);
  // The same as a function that may outlive the server.
  std::function<void(std::function<void()>)> poster() const;
  // From now on every connection closes after its answer, those that wait for a request at once.
  void drain();
  // Cuts every connection and ends the thread. Exchanges must be gone before the server is.
  void stop();
  // monotonic_seconds() of the loop's last beat; any thread.
  double last_beat() const;
  size_t num_connections() const;  // any thread

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace quern
