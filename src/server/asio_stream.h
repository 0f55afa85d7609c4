// Streams over sockets: plain TCP, and TLS. The only headers besides http_server.cpp that see Asio.
#pragma once
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>

#include "server/byte_stream.h"

namespace quern {

// Socket options of every connection: answers leave at once, a peer that vanished is noticed, little is buffered for a slow reader.
void prepare_socket(boost::asio::ip::tcp::socket& socket);
std::string peer_of(const boost::asio::ip::tcp::socket& socket);

std::unique_ptr<ByteStream> make_tcp_stream(boost::asio::ip::tcp::socket socket);

// Certificate and key, read once. Any number of streams, on one thread.
class TlsContext {
 public:
  // Throws usage naming the file that is not usable.
  TlsContext(const std::string& certificate_file, const std::string& key_file);
  ~TlsContext();
  std::unique_ptr<ByteStream> make_stream(boost::asio::ip::tcp::socket socket);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quern
