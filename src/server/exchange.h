// One request and the way back to its client. Made by Connection, held by whoever answers; every member on the event loop's thread. Once
// the client is gone all calls do nothing. Dropped without an answer, it closes the connection.
#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "server/http_message.h"

namespace quern {

class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual HttpRequest& request() = 0;
  virtual const std::string& id() const = 0;  // x-request-id
  virtual double start() const = 0;           // monotonic_seconds() when the request was whole

  // The whole answer. Exactly one of reply() and begin_stream().
  virtual void reply(HttpReply reply) = 0;

  virtual void begin_stream(HttpReply head) = 0;  // status, content type and headers; the body comes by send()
  virtual void send(std::string_view bytes) = 0;
  virtual size_t unsent_bytes() const = 0;
  virtual void end_stream() = 0;  // the body is complete
  virtual void abort() = 0;       // cuts the connection; what was sent before may be lost

  virtual bool is_gone() const = 0;  // the client left, or the answer is out
  // Called once when the client leaves before the answer is out.
  virtual void on_gone(std::function<void()> callback) = 0;
  // Called whenever everything that was sent is out, while a stream is open.
  virtual void on_writable(std::function<void()> callback) = 0;
};

}  // namespace quern
