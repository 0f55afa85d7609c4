#include "server/http_server.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "server/asio_stream.h"

namespace quern {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kTick = std::chrono::milliseconds(100);
constexpr double kLongPause = 1;  // seconds without a beat: the process was stopped, or the machine slept

}  // namespace

struct HttpServer::State {
  explicit State(const HttpServerOptions& given) : options(given) { host.limits = given.limits; }

  void listen() {
    error_code ec;
    const asio::ip::address address = asio::ip::make_address(options.host, ec);
    if (ec) raise(usage, "--host: want a numeric address, found '{}'", escaped(options.host, 60));
    const tcp::endpoint endpoint(address, options.port);
    acceptor.open(endpoint.protocol(), ec);
    if (!ec) acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
    if (!ec) acceptor.bind(endpoint, ec);
    if (!ec) acceptor.listen(asio::socket_base::max_listen_connections, ec);
    if (ec) raise(resource, "{}:{}: cannot listen: {}", options.host, options.port, ec.message());
  }

  void accept() {
    acceptor.async_accept([this](error_code ec, tcp::socket socket) {
      if (ec == asio::error::operation_aborted || !acceptor.is_open()) return;
      if (ec) {  // descriptors ran out: wait for some to come back
        accept_is_paused = true;
        drop_oldest_waiting();
        return;
      }
      take(std::move(socket));
      accept();
    });
  }

  void take(tcp::socket socket) {
    if (connections.size() >= options.max_connections && !drop_oldest_waiting()) return;  // the socket closes
    auto stream = tls ? tls->make_stream(std::move(socket)) : make_tcp_stream(std::move(socket));
    auto connection = std::make_shared<Connection>(std::move(stream), host);
    connections.push_back(connection);
    count = connections.size();
    connection->start();
  }

  // Makes room for a new connection: of those without a request under way, the one that waits longest goes.
  bool drop_oldest_waiting() {
    auto oldest = connections.end();
    for (auto at = connections.begin(); at != connections.end(); ++at) {
      if (!(*at)->is_waiting()) continue;
      if (oldest == connections.end() || (*at)->waiting_since() < (*oldest)->waiting_since()) oldest = at;
    }
    if (oldest == connections.end()) return false;
    (*oldest)->close();
    connections.erase(oldest);
    return true;
  }

  void beat() {
    timer.expires_after(kTick);
    timer.async_wait([this](error_code ec) {
      if (ec) return;
      const double now = monotonic_seconds();
      const double pause = now - last_beat - std::chrono::duration<double>(kTick).count();
      last_beat = now;
      const std::vector<std::shared_ptr<Connection>> present = connections;
      if (pause > kLongPause) std::ranges::for_each(present, [&](const auto& connection) { connection->forgive(pause); });
      for (const auto& connection : present) connection->tick(now);
      std::erase_if(connections, [](const auto& connection) { return connection->is_closed(); });
      count = connections.size();
      if (std::exchange(accept_is_paused, false)) accept();
      on_tick();
      beat();
    });
  }

  void run() {
    for (;;) {
      try {
        io.run();
        return;
      } catch (const std::exception& error) {  // of one handler; the others go on
        log_warning("event loop: {}", escaped(error.what()));
      }
    }
  }

  HttpServerOptions options;
  ConnectionHost host;
  asio::io_context io{1};
  tcp::acceptor acceptor{io};
  asio::steady_timer timer{io};
  std::unique_ptr<TlsContext> tls;
  std::vector<std::shared_ptr<Connection>> connections;
  std::function<void()> on_tick;
  std::thread thread;
  std::atomic<double> last_beat = 0;
  std::atomic<size_t> count = 0;
  std::atomic<bool> is_stopped = false;
  bool accept_is_paused = false;
};

HttpServer::HttpServer(const HttpServerOptions& options) : state_(std::make_shared<State>(options)) {
  if (options.tls_certificate.empty() != options.tls_key.empty()) raise(usage, "--ssl-certfile and --ssl-keyfile belong together");
  if (!options.tls_certificate.empty()) state_->tls = std::make_unique<TlsContext>(options.tls_certificate, options.tls_key);
  state_->listen();
}

HttpServer::~HttpServer() { stop(); }

uint16_t HttpServer::port() const {
  error_code ec;
  return state_->acceptor.local_endpoint(ec).port();
}

void HttpServer::start(Handler handler, std::function<void()> tick) {
  state_->host.handler = std::move(handler);
  state_->on_tick = std::move(tick);
  state_->last_beat = monotonic_seconds();
  state_->accept();
  state_->beat();
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

void HttpServer::post(std::function<void()> work) { asio::post(state_->io, std::move(work)); }

std::function<void(std::function<void()>)> HttpServer::poster() const {
  return [weak = std::weak_ptr<State>(state_)](std::function<void()> work) {
    if (const auto state = weak.lock()) asio::post(state->io, std::move(work));
  };
}

void HttpServer::drain() {
  post([state = state_.get()] { state->host.is_draining = true; });
}

void HttpServer::stop() {
  if (!state_->thread.joinable()) return;
  post([state = state_.get()] {
    error_code ec;
    state->acceptor.close(ec);
    state->timer.cancel();
    const std::vector<std::shared_ptr<Connection>> present = std::move(state->connections);
    for (const auto& connection : present) connection->close();
    state->connections.clear();
    state->count = 0;
    asio::post(state->io, [state] { state->io.stop(); });
  });
  state_->thread.join();
}

double HttpServer::last_beat() const { return state_->last_beat; }
size_t HttpServer::num_connections() const { return state_->count; }

}  // namespace quern
