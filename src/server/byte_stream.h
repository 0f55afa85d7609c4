// The two ends of a byte stream, TCP or TLS, as Connection sees them. Every member on the event loop's thread; handlers run there too,
// never inside the call that takes them.
#pragma once
#include <cstddef>
#include <functional>
#include <string>

namespace quern {

class ByteStream {
 public:
  // `ok` is false at the end of the stream and after an error.
  using Handler = std::function<void(bool ok, size_t bytes)>;

  virtual ~ByteStream() = default;
  virtual void handshake(Handler done) = 0;
  // At most one read and one write at a time; `data` stays valid until the handler runs.
  virtual void read_some(char* data, size_t size, Handler done) = 0;
  virtual void write_some(const char* data, size_t size, Handler done) = 0;
  virtual void end_sending(Handler done) = 0;
  // Handlers of what is under way still run, with ok = false.
  virtual void close() = 0;
  virtual std::string peer() const = 0;  // for the log
};

}  // namespace quern
