// One client's connection: reads requests, one at a time, hands them on, writes answers in order, watches the clock and whether the
// client is still there. Owned by HttpServer and by its own pending operations; event loop's thread only.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "server/byte_stream.h"
#include "server/exchange.h"
#include "server/http_parser.h"

namespace quern {

struct ConnectionLimits {
  HttpLimits http;
  double header_seconds = 10, body_idle_seconds = 10, keep_alive_seconds = 75, stalled_seconds = 60, linger_seconds = 2;
  double least_body_rate = 1024;              // bytes a second, after the first body_idle_seconds
  bool keeps_half_closed = false;             // a client that shuts down its sending side still gets its answer
  size_t all_body_bytes = size_t{256} << 20;  // of all requests that are being read
};

// What all connections of a server share. Event loop's thread only.
struct ConnectionHost {
  ConnectionLimits limits;
  std::function<void(std::shared_ptr<Exchange>)> handler;
  size_t body_bytes = 0;  // of requests that are being read
  bool is_draining = false;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::unique_ptr<ByteStream> stream, ConnectionHost& host);
  ~Connection();

  void start();
  // The process did not run for so long: nobody has waited for that time.
  void forgive(double seconds);
  // Closes or answers what has waited too long.
  void tick(double now);
  bool is_closed() const { return is_closed_; }
  // No request is being answered.
  bool is_waiting() const { return exchange_ == nullptr && out_.empty() && writing_.empty(); }
  double waiting_since() const { return phase_start_; }
  void close();

 private:
  class OneExchange;
  enum class Phase { handshake, idle, head, body, answer, linger };

  void read();
  void on_read(bool ok, size_t bytes);
  void advance();
  void update_phase();
  void count_body(size_t bytes);
  void begin_exchange(HttpRequest request);
  void refuse(const ApiError& error);
  void write_head(const HttpRequest& request, const std::string& id, const HttpReply& reply, bool is_stream);
  void finish_answer();
  void flush();
  void on_write(bool ok, size_t bytes);
  void client_left();
  void set_phase(Phase phase);

  std::unique_ptr<ByteStream> stream_;
  ConnectionHost* host_;
  std::unique_ptr<HttpParser> parser_;
  std::string input_;  // not yet parsed
  std::unique_ptr<char[]> read_buffer_;
  std::string out_, writing_;        // not yet given to the stream, being written
  size_t written_ = 0;               // of writing_
  OneExchange* exchange_ = nullptr;  // the one that is being answered; it keeps this connection alive
  Phase phase_ = Phase::handshake;
  double phase_start_ = 0, last_read_ = 0, last_write_ = 0;
  size_t counted_body_ = 0, num_requests_ = 0, lingered_bytes_ = 0;
  bool is_reading_ = false, is_writing_ = false, is_closed_ = false, is_advancing_ = false;
  bool closes_after_answer_ = false, input_ended_ = false, sent_continue_ = false, is_chunked_ = false, has_body_ = true;
};

}  // namespace quern
