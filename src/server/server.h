// quern serve without its command line: an HTTP server around one Engine. start() answers at once, with 503 until a model is there.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/access.h"
#include "server/http_server.h"
#include "server/served_model.h"

namespace quern {

struct ServerOptions {
  HttpServerOptions http;
  AccessOptions access;
  std::vector<std::string> metrics_keys;  // open /metrics alone
  std::string metrics_prefix = "quern:";
  size_t max_waiting = 512;      // runs in the queue
  size_t max_waiting_pools = 4;  // prompt tokens in the queue, in whole KV pools
  double queue_timeout = 60, request_timeout = 600;
  double stall_timeout = 30;  // requests wait and no step ends: not ready
  size_t num_workers = 2;     // threads that read requests
  bool logs_requests = true;
  bool has_page = true;  // the chat page at /
};

class Server {
 public:
  // Binds. Throws resource when the address is taken.
  explicit Server(const ServerOptions& options);
  ~Server();  // stop()
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  uint16_t port() const;
  void start();
  // Serves `model` from now on; its engine runs, and outlives the server or its stop().
  void serve(ServedModel model);
  // Refuses new requests; those under way go on.
  void drain();
  // Requests under way, those that are still being read included.
  size_t num_active() const;
  // Ends what is under way with an error that the client sees, waits a moment for it to go out, and cuts the rest.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// True for 127.0.0.0/8, ::1.
bool is_loopback(const std::string& address);

}  // namespace quern
