#include "server/connection.h"

#include <algorithm>
#include <ctime>

#include "base/clock.h"
#include "server/random_id.h"

namespace quern {
namespace {

constexpr size_t kReadBytes = size_t{8} << 10;
constexpr size_t kMaxPipelinedBytes = size_t{64} << 10;  // read ahead of the answer to the request before
constexpr size_t kMaxLingeredBytes = size_t{64} << 20;   // read and dropped after a refusal, so that the client can read it
constexpr size_t kMaxQueuedAnswers = size_t{256} << 10;  // bytes; pipelined requests wait until answers are out

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  gmtime_r(&now, &parts);
  char text[40];
  const size_t size = std::strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return {text, size};
}

// The caller's id when it can stand in a header and a log as it is.
std::string id_of(const HttpRequest& request) {
  const std::string* given = request.header("x-request-id");
  const auto is_printable = [](char c) { return c > 0x20 && c < 0x7f; };
  if (given != nullptr && !given->empty() && given->size() <= 128 && std::ranges::all_of(*given, is_printable)) return *given;
  return random_id();
}

void append_header(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += ": ";
  for (const char c : value) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;  // no header is split by a value
  out += "\r\n";
}

}  // namespace

class Connection::OneExchange : public Exchange {
 public:
  OneExchange(std::shared_ptr<Connection> connection, HttpRequest request)
      : connection_(std::move(connection)), request_(std::move(request)), id_(id_of(request_)), start_(monotonic_seconds()) {}
  ~OneExchange() override {
    if (!connection_) return;
    connection_->exchange_ = nullptr;
    connection_->close();
  }

  HttpRequest& request() override { return request_; }
  const std::string& id() const override { return id_; }
  double start() const override { return start_; }

  void reply(HttpReply reply) override {
    if (!connection_) return;
    CHECK(!is_stream_, "a second answer");
    connection_->write_head(request_, id_, reply, false);
    if (connection_->has_body_) connection_->out_ += reply.body;
    leave()->finish_answer();
  }

  void begin_stream(HttpReply head) override {
    if (!connection_) return;
    is_stream_ = true;
    connection_->write_head(request_, id_, head, true);
    connection_->flush();
  }

  void send(std::string_view bytes) override {
    if (!connection_ || bytes.empty()) return;
    CHECK(is_stream_, "no stream is open");
    if (connection_->is_chunked_) connection_->out_ += fmt::format("{:x}\r\n", bytes.size());
    connection_->out_ += bytes;
    if (connection_->is_chunked_) connection_->out_ += "\r\n";
    connection_->flush();
  }

  size_t unsent_bytes() const override {
    return connection_ ? connection_->out_.size() + connection_->writing_.size() - connection_->written_ : 0;
  }

  void end_stream() override {
    if (!connection_) return;
    if (connection_->is_chunked_) connection_->out_ += "0\r\n\r\n";
    leave()->finish_answer();
  }

  void abort() override {
    if (connection_) leave()->close();
  }

  bool is_gone() const override { return connection_ == nullptr; }
  void on_gone(std::function<void()> callback) override { on_gone_ = std::move(callback); }
  void on_writable(std::function<void()> callback) override { on_writable_ = std::move(callback); }

  void client_left() {
    leave();
    if (const auto callback = std::exchange(on_gone_, {})) callback();
  }
  void writable() {
    if (is_stream_ && on_writable_) on_writable_();
  }

 private:
  std::shared_ptr<Connection> leave() {
    on_writable_ = {};
    connection_->exchange_ = nullptr;
    return std::exchange(connection_, nullptr);
  }

  std::shared_ptr<Connection> connection_;
  HttpRequest request_;
  std::string id_;
  double start_;
  bool is_stream_ = false;
  std::function<void()> on_gone_, on_writable_;
};

Connection::Connection(std::unique_ptr<ByteStream> stream, ConnectionHost& host)
    : stream_(std::move(stream)),
      host_(&host),
      parser_(std::make_unique<HttpParser>(host.limits.http)),
      read_buffer_(new char[kReadBytes]) {}

Connection::~Connection() { count_body(0); }

void Connection::start() {
  set_phase(Phase::handshake);
  stream_->handshake([self = shared_from_this()](bool ok, size_t) {
    if (!ok) return self->close();
    self->set_phase(Phase::idle);
    self->read();
  });
}

void Connection::set_phase(Phase phase) {
  phase_ = phase;
  phase_start_ = last_read_ = monotonic_seconds();
}

void Connection::close() {
  if (is_closed_) return;
  is_closed_ = true;
  count_body(0);
  stream_->close();
  if (exchange_ != nullptr) client_left();
}

void Connection::client_left() { exchange_->client_left(); }

// `bytes` of the request that is being read count towards the host's bound.
void Connection::count_body(size_t bytes) {
  host_->body_bytes += bytes;
  host_->body_bytes -= counted_body_;
  counted_body_ = bytes;
}

void Connection::read() {
  if (is_reading_ || is_closed_ || input_ended_) return;
  if (phase_ != Phase::linger && input_.size() >= kMaxPipelinedBytes) return;
  is_reading_ = true;
  stream_->read_some(read_buffer_.get(), kReadBytes, [self = shared_from_this()](bool ok, size_t bytes) { self->on_read(ok, bytes); });
}

void Connection::on_read(bool ok, size_t bytes) {
  is_reading_ = false;
  if (is_closed_) return;
  if (!ok) {
    input_ended_ = true;
    const bool is_answering = exchange_ != nullptr ? host_->limits.keeps_half_closed : !is_waiting();
    if (!is_answering || phase_ == Phase::linger) return close();
    closes_after_answer_ = true;  // what is being written still goes out
    return;
  }
  last_read_ = monotonic_seconds();
  if (phase_ == Phase::linger) {
    lingered_bytes_ += bytes;
    if (lingered_bytes_ > kMaxLingeredBytes) return close();
  } else {
    input_.append(read_buffer_.get(), bytes);
    advance();
  }
  read();
}

// Parses and hands on requests until one is being answered or more bytes are needed.
void Connection::advance() {
  if (is_advancing_) return;
  is_advancing_ = true;
  while (!is_closed_ && exchange_ == nullptr && !closes_after_answer_ && out_.size() + writing_.size() < kMaxQueuedAnswers) {
    const size_t taken = parser_->put(input_);
    input_.erase(0, taken);
    if (parser_->state() == HttpParser::State::failed) {
      refuse(parser_->error());
      break;
    }
    if (parser_->state() == HttpParser::State::complete) {
      begin_exchange(parser_->take());
      continue;
    }
    update_phase();
    break;
  }
  is_advancing_ = false;
}

void Connection::update_phase() {
  if (!parser_->has_begun()) {
    if (host_->is_draining && is_waiting()) return close();
    if (phase_ != Phase::idle) set_phase(Phase::idle);
    return;
  }
  if (parser_->state() == HttpParser::State::head) {
    if (phase_ != Phase::head) set_phase(Phase::head);
    return;
  }
  if (phase_ != Phase::body) set_phase(Phase::body);
  count_body(parser_->body_bytes());
  if (host_->body_bytes > host_->limits.all_body_bytes && counted_body_ > host_->limits.http.header_bytes) {
    return refuse(try_later(503, "overloaded", "The server is reading too many large requests.", 5));
  }
  if (parser_->expects_continue() && !sent_continue_) {
    sent_continue_ = true;
    out_ += "HTTP/1.1 100 Continue\r\n\r\n";
    flush();
  }
}

void Connection::begin_exchange(HttpRequest request) {
  count_body(0);
  parser_ = std::make_unique<HttpParser>(host_->limits.http);
  sent_continue_ = false;
  ++num_requests_;
  closes_after_answer_ = !request.keeps_alive || host_->is_draining;
  set_phase(Phase::answer);
  const auto exchange = std::make_shared<OneExchange>(shared_from_this(), std::move(request));
  exchange_ = exchange.get();
  host_->handler(exchange);
}

// Answers what is not a request, and closes.
void Connection::refuse(const ApiError& error) {
  count_body(0);
  closes_after_answer_ = true;
  const HttpReply reply = error.reply();
  write_head({}, random_id(), reply, false);
  out_ += reply.body;
  finish_answer();
}

void Connection::write_head(const HttpRequest& request, const std::string& id, const HttpReply& reply, bool is_stream) {
  has_body_ = request.method != "HEAD";
  is_chunked_ = is_stream && !request.is_http_1_0;
  if (is_stream && request.is_http_1_0) closes_after_answer_ = true;
  if (host_->is_draining) closes_after_answer_ = true;
  out_ += fmt::format("HTTP/1.1 {} {}\r\n", reply.status, http_reason(reply.status));
  append_header(out_, "Date", http_date());
  append_header(out_, "Server", "quern");
  append_header(out_, "Content-Type", reply.content_type);
  append_header(out_, "X-Content-Type-Options", "nosniff");
  append_header(out_, "x-request-id", id);
  for (const HttpHeader& header : reply.headers) append_header(out_, header.name, header.value);
  if (is_chunked_) {
    append_header(out_, "Transfer-Encoding", "chunked");
  } else if (!is_stream) {
    append_header(out_, "Content-Length", fmt::format("{}", reply.body.size()));
  }
  append_header(out_, "Connection", closes_after_answer_ ? "close" : "keep-alive");
  out_ += "\r\n";
}

void Connection::finish_answer() {
  if (is_closed_) return;
  set_phase(Phase::idle);
  flush();
  advance();
}

void Connection::flush() {
  if (is_writing_ || is_closed_) return;
  if (written_ == writing_.size()) {
    writing_.clear();
    std::swap(writing_, out_);
    written_ = 0;
  }
  if (writing_.empty()) {
    if (closes_after_answer_ && exchange_ == nullptr && phase_ != Phase::linger) {
      // The client may still be sending: what it sends is read and dropped for a while, so that it gets to read the answer.
      stream_->end_sending([self = shared_from_this()](bool, size_t) {});
      if (input_ended_) return close();
      set_phase(Phase::linger);
      input_.clear();
      read();
    }
    return;
  }
  if (last_write_ == 0) last_write_ = monotonic_seconds();
  is_writing_ = true;
  stream_->write_some(writing_.data() + written_, writing_.size() - written_,
                      [self = shared_from_this()](bool ok, size_t bytes) { self->on_write(ok, bytes); });
}

void Connection::on_write(bool ok, size_t bytes) {
  is_writing_ = false;
  if (is_closed_) return;
  if (!ok) return close();
  written_ += bytes;
  last_write_ = monotonic_seconds();
  if (written_ == writing_.size() && out_.empty()) last_write_ = 0;
  flush();
  if (is_closed_ || is_writing_) return;
  if (exchange_ != nullptr) return exchange_->writable();
  advance();
}

void Connection::forgive(double seconds) {
  phase_start_ += seconds;
  last_read_ += seconds;
  if (last_write_ != 0) last_write_ += seconds;
}

void Connection::tick(double now) {
  if (is_closed_) return;
  const ConnectionLimits& limits = host_->limits;
  if (last_write_ != 0 && now - last_write_ > limits.stalled_seconds) return close();
  const double waited = now - phase_start_;
  switch (phase_) {
    case Phase::handshake:
      if (waited > limits.header_seconds) close();
      return;
    case Phase::idle:
      if (!is_waiting()) return;
      if (waited > (num_requests_ == 0 ? limits.header_seconds : limits.keep_alive_seconds) || host_->is_draining) close();
      return;
    case Phase::head:
      if (waited > limits.header_seconds) refuse(api_error(408, "invalid_request_error", "slow_request", "The head took too long."));
      return;
    case Phase::body: {
      const double allowed = limits.body_idle_seconds + static_cast<double>(parser_->body_bytes()) / limits.least_body_rate;
      if (now - last_read_ > limits.body_idle_seconds || waited > allowed) {
        refuse(api_error(408, "invalid_request_error", "slow_request", "The body took too long."));
      }
      return;
    }
    case Phase::linger:
      if (waited > limits.linger_seconds) close();
      return;
    case Phase::answer: return;
  }
}

}  // namespace quern
