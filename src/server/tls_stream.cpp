#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl.hpp>

#include "base/error.h"
#include "server/asio_stream.h"

namespace quern {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;
namespace ssl = boost::asio::ssl;

class TlsStream : public ByteStream {
 public:
  TlsStream(tcp::socket socket, ssl::context& context) : stream_(std::move(socket), context), peer_(peer_of(stream_.next_layer())) {
    prepare_socket(stream_.next_layer());
  }

  void handshake(Handler done) override {
    stream_.async_handshake(ssl::stream_base::server, [done = std::move(done)](error_code ec) { done(!ec, 0); });
  }
  void read_some(char* data, size_t size, Handler done) override {
    stream_.async_read_some(boost::asio::buffer(data, size), [done = std::move(done)](error_code ec, size_t bytes) { done(!ec, bytes); });
  }
  void write_some(const char* data, size_t size, Handler done) override {
    stream_.async_write_some(boost::asio::buffer(data, size), [done = std::move(done)](error_code ec, size_t bytes) { done(!ec, bytes); });
  }
  // The close notification goes out without waiting for the peer's: the read that is under way sees the end of the stream.
  void end_sending(Handler done) override {
    SSL_set_shutdown(stream_.native_handle(), SSL_get_shutdown(stream_.native_handle()) | SSL_RECEIVED_SHUTDOWN);
    stream_.async_shutdown([done = std::move(done)](error_code ec) { done(!ec, 0); });
  }
  void close() override {
    error_code ec;
    stream_.next_layer().close(ec);
  }
  std::string peer() const override { return peer_; }

 private:
  ssl::stream<tcp::socket> stream_;
  std::string peer_;
};

}  // namespace

struct TlsContext::State {
  ssl::context context{ssl::context::tls_server};
};

TlsContext::TlsContext(const std::string& certificate_file, const std::string& key_file) : state_(std::make_unique<State>()) {
  ssl::context& context = state_->context;
  error_code ec;
  context.set_options(ssl::context::default_workarounds | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1, ec);
  context.use_certificate_chain_file(certificate_file, ec);
  if (ec) raise(usage, "--ssl-certfile: {}: want a PEM certificate chain", escaped(certificate_file));
  context.use_private_key_file(key_file, ssl::context::pem, ec);
  if (ec) raise(usage, "--ssl-keyfile: {}: want the certificate's private key in PEM", escaped(key_file));
}

TlsContext::~TlsContext() = default;

std::unique_ptr<ByteStream> TlsContext::make_stream(tcp::socket socket) {
  return std::make_unique<TlsStream>(std::move(socket), state_->context);
}

}  // namespace quern
