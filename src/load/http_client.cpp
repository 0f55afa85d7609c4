#include "load/http_client.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>

#include "base/error.h"
#include "base/parse.h"

namespace quern {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr size_t kReadBytes = size_t{64} << 10;

}  // namespace

ServerAddress parse_base_url(const std::string& url) {
  ServerAddress address;
  std::string_view rest = url;
  address.is_tls = rest.starts_with("https://");
  if (!address.is_tls && !rest.starts_with("http://"))
    raise(usage, "--base-url: want http://... or https://..., found '{}'", escaped(url, 100));
  rest.remove_prefix(address.is_tls ? 8 : 7);
  const size_t slash = std::min(rest.find('/'), rest.size());
  address.prefix = rest.substr(slash);
  while (address.prefix.ends_with('/')) address.prefix.pop_back();
  rest = rest.substr(0, slash);
  const size_t bracket = rest.starts_with('[') ? rest.find(']') : 0;
  const size_t colon = bracket == rest.npos ? rest.npos : rest.find(':', bracket);
  address.host = rest.substr(0, colon);
  if (address.host.starts_with('[') && address.host.ends_with(']')) address.host = address.host.substr(1, address.host.size() - 2);
  if (address.host.find('[') != address.host.npos) address.host.clear();
  address.port = colon == rest.npos ? (address.is_tls ? "443" : "80") : std::string(rest.substr(colon + 1));
  if (address.host.empty() || !parse_number<uint16_t>(address.port, 1, 65535)) {
    raise(usage, "--base-url: want http://HOST:PORT, found '{}'", escaped(url, 100));
  }
  return address;
}

struct HttpClient::State {
  State(const ServerAddress& given, Headers given_headers, double given_idle)
      : address(given), headers(std::move(given_headers)), idle_seconds(given_idle) {
    error_code ec;
    const auto found = tcp::resolver(io).resolve(address.host, address.port, ec);
    if (ec) raise(resource, "{}: {}", escaped(address.host), ec.message());
    for (const auto& each : found) endpoints.push_back(each.endpoint());
    if (!address.is_tls) return;
    tls.emplace(asio::ssl::context::tls_client);
    tls->set_default_verify_paths(ec);
    tls->set_verify_mode(asio::ssl::verify_peer);
  }

  ServerAddress address;
  Headers headers;
  double idle_seconds;
  bool is_stopped = false;
  asio::io_context io{1};
  std::optional<asio::ssl::context> tls;
  std::vector<tcp::endpoint> endpoints;
  std::vector<std::shared_ptr<Channel>> free;
};

// One request after another. Held by the handlers of what is under way, and by State while it is free.
class HttpClient::Channel : public std::enable_shared_from_this<Channel> {
 public:
  explicit Channel(State& state) : state_(&state), socket_(state.io), timer_(state.io), input_(kReadBytes, '\0') {
    if (state.tls) tls_.emplace(socket_, *state.tls);
  }

  void start(const std::string& path, const std::string& content, Body body, End end) {
    path_ = path;
    content_ = content;
    body_ = std::move(body);
    end_ = std::move(end);
    parser_.emplace();
    parser_->body_limit(boost::none);
    parser_->eager(true);
    unread_.clear();
    has_answer_ = false;
    output_ = fmt::format("{} {}{} HTTP/1.1\r\nHost: {}:{}\r\nAccept: */*\r\n", content.empty() ? "GET" : "POST", state_->address.prefix,
                          path, state_->address.host, state_->address.port);
    for (const auto& [name, value] : state_->headers) output_ += fmt::format("{}: {}\r\n", name, value);
    if (!content.empty()) output_ += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", content.size());
    output_ += "\r\n" + content;
    watch();
    is_open_ ? write() : connect();
  }

 private:
  void connect() {
    asio::async_connect(socket_, state_->endpoints, [self = shared_from_this()](error_code ec, const tcp::endpoint&) {
      if (ec) return self->fail(ec.message());
      error_code ignored;
      self->socket_.set_option(tcp::no_delay(true), ignored);
      if (!self->tls_) return self->opened();
      self->tls_->set_verify_callback(asio::ssl::host_name_verification(self->state_->address.host), ignored);
      SSL_set_tlsext_host_name(self->tls_->native_handle(), self->state_->address.host.c_str());
      self->tls_->async_handshake(asio::ssl::stream_base::client,
                                  [self](error_code failed) { failed ? self->fail(failed.message()) : self->opened(); });
    });
  }
  void opened() {
    is_open_ = true;
    is_fresh_ = true;
    write();
  }

  void write() {
    const auto done = [self = shared_from_this()](error_code ec, size_t) { ec ? self->fail(ec.message()) : self->read(); };
    tls_ ? asio::async_write(*tls_, asio::buffer(output_), done) : asio::async_write(socket_, asio::buffer(output_), done);
  }

  void read() {
    const auto done = [self = shared_from_this()](error_code ec, size_t bytes) { self->on_read(ec, bytes); };
    tls_ ? tls_->async_read_some(asio::buffer(input_), done) : socket_.async_read_some(asio::buffer(input_), done);
  }

  void on_read(error_code ec, size_t bytes) {
    if (is_over_) return;
    watch();
    if (ec) {
      error_code ended = ec;
      if (ec == asio::error::eof && has_answer_) parser_->put_eof(ended);
      if (!ended && parser_->is_done()) return finish(false);
      return fail(ec == asio::error::eof ? "the server closed the connection" : ec.message());
    }
    has_answer_ = true;
    unread_.append(input_.data(), bytes);
    while (!unread_.empty() && !parser_->is_done()) {
      error_code failed;
      const size_t taken = parser_->put(asio::buffer(unread_), failed);
      unread_.erase(0, taken);
      deliver();
      if (failed == http::error::need_more || (!failed && taken == 0)) break;
      if (failed) return fail("not HTTP: " + failed.message());
    }
    parser_->is_done() ? finish(parser_->keep_alive()) : read();
  }

  void deliver() {
    if (!parser_->is_header_done()) return;
    std::string& text = parser_->get().body();
    if (text.empty()) return;
    body_(static_cast<int>(parser_->get().result_int()), text);
    text.clear();
  }

  void finish(bool is_kept) {
    const HttpOutcome outcome{static_cast<int>(parser_->get().result_int()), ""};
    timer_.cancel();
    is_fresh_ = false;
    if (is_kept) {
      state_->free.push_back(shared_from_this());
    } else {
      close();
    }
    std::exchange(end_, {})(outcome);
  }

  void fail(const std::string& why) {
    if (is_over_) return;
    const bool was_kept = is_open_ && !is_fresh_ && !has_answer_;
    close();
    if (was_kept) {  // the server closed it while it was free: once more on a new one
      std::make_shared<Channel>(*state_)->start(path_, content_, std::move(body_), std::move(end_));
      return;
    }
    const int status = parser_->is_header_done() ? static_cast<int>(parser_->get().result_int()) : 0;
    if (const End end = std::exchange(end_, {})) end({status, why});
  }

  void close() {
    is_over_ = true;
    timer_.cancel();
    error_code ignored;
    socket_.close(ignored);
  }

  // The request fails when nothing comes for too long.
  void watch() {
    timer_.expires_after(
        std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(state_->idle_seconds)));
    timer_.async_wait([weak = weak_from_this()](error_code ec) {
      const auto self = weak.lock();
      if (!ec && self) self->fail("no byte for too long");
    });
  }

  State* state_;
  tcp::socket socket_;
  std::optional<asio::ssl::stream<tcp::socket&>> tls_;
  asio::steady_timer timer_;
  std::optional<http::response_parser<http::string_body>> parser_;
  std::string path_, content_, output_, input_, unread_;
  Body body_;
  End end_;
  bool is_open_ = false, is_fresh_ = false, has_answer_ = false, is_over_ = false;
};

HttpClient::HttpClient(const ServerAddress& address, Headers headers, double idle_seconds)
    : state_(std::make_unique<State>(address, std::move(headers), idle_seconds)) {}
HttpClient::~HttpClient() = default;

void HttpClient::send(const std::string& path, const std::string& content, Body body, End end) {
  std::shared_ptr<Channel> connection;
  if (state_->free.empty()) {
    connection = std::make_shared<Channel>(*state_);
  } else {
    connection = std::move(state_->free.back());
    state_->free.pop_back();
  }
  connection->start(path, content, std::move(body), std::move(end));
}

void HttpClient::after(double seconds, std::function<void()> work) {
  const auto timer = std::make_shared<asio::steady_timer>(
      state_->io, std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(seconds)));
  timer->async_wait([timer, work = std::move(work)](error_code ec) {
    if (!ec) work();
  });
}

void HttpClient::run() {
  state_->io.restart();
  state_->io.run();
  if (!state_->is_stopped) return;
  // What was under way goes, and is never called back.
  state_ = std::make_unique<State>(state_->address, state_->headers, state_->idle_seconds);
}

void HttpClient::stop() {
  state_->is_stopped = true;
  state_->io.stop();
}

}  // namespace quern
