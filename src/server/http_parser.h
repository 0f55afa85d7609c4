// One HTTP/1 request from bytes as they arrive, with limits and without leniency: what two programs could read in two ways is refused.
// Owned by Connection, used on the event loop's thread.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "server/api_error.h"
#include "server/chunked_body.h"
#include "server/http_message.h"

namespace quern {

struct HttpLimits {
  size_t header_bytes = size_t{16} << 10, headers = 100, target_bytes = size_t{8} << 10;
  size_t body_bytes = size_t{32} << 20;
  size_t chunks = 65536;  // of one body
};

class HttpParser {
 public:
  explicit HttpParser(const HttpLimits& limits);

  enum class State { head, body, complete, failed };

  // Takes what it can of `input`, the bytes that came since and those that an earlier call left; returns how many it took. Nothing beyond
  // the end of the request is taken.
  size_t put(std::string_view input);
  State state() const { return state_; }
  bool has_begun() const { return !head_.empty() || state_ != State::head; }
  // The head asked for "100 Continue" and its body is wanted.
  bool expects_continue() const { return expects_continue_; }
  size_t body_bytes() const { return request_.body.size(); }

  // After `complete`.
  HttpRequest take() { return std::move(request_); }
  // After `failed`: what to tell the client before closing.
  const ApiError& error() const { return error_; }

 private:
  class Head;
  size_t put_head(std::string_view input);
  size_t put_body(std::string_view input);
  bool check_first_line(std::string_view line);
  bool check_lines(std::string_view head);
  bool check_fields();
  bool split_absolute_target();
  bool parse_head();
  bool fail(int status, std::string code, std::string message);

  HttpLimits limits_;
  State state_ = State::head;
  bool skipped_line_ = false;  // an empty line before the head
  std::string head_;           // until it is whole
  HttpRequest request_;
  ApiError error_;
  std::optional<ChunkedBody> chunks_;
  size_t length_ = 0;  // of a body that is not chunked
  bool expects_continue_ = false;
};

}  // namespace quern
