#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>

#include "server/asio_stream.h"

namespace quern {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;

constexpr int kSendBufferBytes = 64 << 10;
constexpr int kUnacknowledgedMs = 60'000;

class TcpStream : public ByteStream {
 public:
  explicit TcpStream(tcp::socket socket) : socket_(std::move(socket)), peer_(peer_of(socket_)) { prepare_socket(socket_); }

  void handshake(Handler done) override {
    boost::asio::post(socket_.get_executor(), [done = std::move(done)] { done(true, 0); });
  }
  void read_some(char* data, size_t size, Handler done) override {
    socket_.async_read_some(boost::asio::buffer(data, size), [done = std::move(done)](error_code ec, size_t bytes) { done(!ec, bytes); });
  }
  void write_some(const char* data, size_t size, Handler done) override {
    socket_.async_write_some(boost::asio::buffer(data, size), [done = std::move(done)](error_code ec, size_t bytes) { done(!ec, bytes); });
  }
  void end_sending(Handler done) override {
    error_code ec;
    socket_.shutdown(tcp::socket::shutdown_send, ec);
    handshake(std::move(done));
  }
  void close() override {
    error_code ec;
    socket_.close(ec);
  }
  std::string peer() const override { return peer_; }

 private:
  tcp::socket socket_;
  std::string peer_;
};

}  // namespace

void prepare_socket(tcp::socket& socket) {
  error_code ec;
  socket.set_option(tcp::no_delay(true), ec);
  socket.set_option(boost::asio::socket_base::keep_alive(true), ec);
  socket.set_option(boost::asio::socket_base::send_buffer_size(kSendBufferBytes), ec);
  ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT, &kUnacknowledgedMs, sizeof(kUnacknowledgedMs));
}

std::string peer_of(const tcp::socket& socket) {
  error_code ec;
  const tcp::endpoint endpoint = socket.remote_endpoint(ec);
  return ec ? "unknown" : endpoint.address().to_string();
}

std::unique_ptr<ByteStream> make_tcp_stream(tcp::socket socket) { return std::make_unique<TcpStream>(std::move(socket)); }

}  // namespace quern
