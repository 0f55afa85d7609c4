#include "server/http_parser.h"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <cstring>

#include "base/parse.h"

namespace quern {
namespace {

namespace http = boost::beast::http;
using boost::beast::string_view;
using boost::system::error_code;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

bool is_token_char(unsigned char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
         (c != 0 && std::strchr("!#$%&'*+-.^_`|~", c) != nullptr);
}

}  // namespace

// Beast's tokenizer for the head.
class HttpParser::Head : public http::basic_parser<true> {
 public:
  Head(HttpRequest& request, const HttpLimits& limits) : request_(&request) {
    skip(true);  // the body is read by HttpParser
    header_limit(static_cast<uint32_t>(limits.header_bytes + 1024));
  }

 private:
  void on_request_impl(http::verb, string_view method, string_view target, int version, error_code&) override {
    request_->method.assign(method.data(), method.size());
    const std::string_view text(target.data(), target.size());
    const size_t mark = text.find('?');
    request_->path = text.substr(0, mark);
    if (mark != text.npos) request_->query = text.substr(mark + 1);
    request_->is_http_1_0 = version == 10;
  }
  void on_field_impl(http::field, string_view name, string_view value, error_code&) override {
    request_->headers.push_back({lower({name.data(), name.size()}), {value.data(), value.size()}});
  }
  void on_response_impl(int, string_view, int, error_code&) override {}
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(boost::optional<uint64_t> const&, error_code&) override {}
  size_t on_body_impl(string_view, error_code&) override { return 0; }
  void on_chunk_header_impl(uint64_t, string_view, error_code&) override {}
  size_t on_chunk_body_impl(uint64_t, string_view, error_code&) override { return 0; }
  void on_finish_impl(error_code&) override {}

  HttpRequest* request_;
};

HttpParser::HttpParser(const HttpLimits& limits) : limits_(limits) {}

bool HttpParser::fail(int status, std::string code, std::string message) {
  error_ = api_error(status, "invalid_request_error", std::move(code), std::move(message));
  state_ = State::failed;
  return false;
}

size_t HttpParser::put(std::string_view input) {
  size_t taken = 0;
  if (state_ == State::head) taken = put_head(input);
  if (state_ == State::body) taken += put_body(input.substr(taken));
  return taken;
}

size_t HttpParser::put_head(std::string_view input) {
  size_t skipped = 0;
  // One empty line, after the body before: RFC 9112, section 2.2.
  if (!skipped_line_ && head_.empty()) {
    if (input == "\r") return 0;
    if (input.starts_with("\r\n")) skipped = 2;
    skipped_line_ = skipped > 0;
  }
  input.remove_prefix(skipped);
  if (input.empty()) return skipped;

  const size_t before = head_.size();
  const size_t room = limits_.header_bytes + 4 - before;
  head_ += input.substr(0, room);
  const size_t end = head_.find("\r\n\r\n", before < 3 ? 0 : before - 3);
  const size_t line_end = head_.find('\n');
  const size_t first_line = line_end == head_.npos ? head_.size() : line_end;
  if (!is_token_char(static_cast<unsigned char>(head_[0])))
    return fail(400, "invalid_http", "This is not an HTTP/1.1 request."), input.size();
  if (first_line > limits_.target_bytes + 32) {
    fail(414, "target_too_long", fmt::format("The target has more than {} bytes.", limits_.target_bytes));
    return input.size();
  }
  if (line_end != head_.npos && !check_first_line(std::string_view(head_).substr(0, line_end))) return input.size();
  if (end == head_.npos) {
    if (head_.size() > limits_.header_bytes) {
      fail(431, "headers_too_large", fmt::format("The header fields have more than {} bytes.", limits_.header_bytes));
    }
    return skipped + input.size();
  }
  const size_t taken = end + 4 - before;
  head_.resize(end + 4);
  if (parse_head()) head_ = {};
  return skipped + taken;
}

bool HttpParser::check_first_line(std::string_view line) {
  if (!line.ends_with("\r")) return fail(400, "invalid_http", "Lines of the head end in CR LF.");
  line.remove_suffix(1);
  if (!line.ends_with(" HTTP/1.1") && !line.ends_with(" HTTP/1.0"))
    return fail(400, "invalid_http", "The version is HTTP/1.1 or HTTP/1.0.");
  return true;
}

// What tokenizers differ in: bare CR or LF, control bytes, folded lines, spaces before colons.
bool HttpParser::check_lines(std::string_view head) {
  size_t fields = 0;
  for (size_t begin = 0; begin < head.size();) {
    const size_t end = head.find('\n', begin);
    if (head[end - 1] != '\r' || end == begin) return fail(400, "invalid_http", "Lines of the head end in CR LF.");
    const std::string_view line = head.substr(begin, end - 1 - begin);
    const auto is_bad = [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; };
    if (std::ranges::any_of(line, is_bad)) return fail(400, "invalid_http", "The head holds a control byte.");
    if (begin > 0 && !line.empty()) {
      ++fields;
      const size_t colon = line.find(':');
      if (line[0] == ' ' || line[0] == '\t') return fail(400, "invalid_http", "Header fields are not folded.");
      if (colon == line.npos || colon == 0 || !std::ranges::all_of(line.substr(0, colon), is_token_char)) {
        return fail(400, "invalid_http", "A header field is a name, a colon and a value.");
      }
    }
    begin = end + 1;
  }
  if (fields > limits_.headers) return fail(431, "headers_too_large", fmt::format("More than {} header fields.", limits_.headers));
  return true;
}

bool HttpParser::check_fields() {
  const size_t lengths = request_.count("content-length"), codings = request_.count("transfer-encoding");
  if (request_.count("host") > 1 || (request_.count("host") == 0 && !request_.is_http_1_0)) {
    return fail(400, "invalid_http", "A request has one Host field.");
  }
  if (lengths > 1 || codings > 1 || (lengths > 0 && codings > 0)) {
    return fail(400, "invalid_http", "A request has one Content-Length or one Transfer-Encoding.");
  }
  if (codings == 1 && (lower(*request_.header("transfer-encoding")) != "chunked" || request_.is_http_1_0)) {
    return fail(400, "invalid_http", "The only Transfer-Encoding is chunked.");
  }
  if (lengths == 1) {
    const std::optional<uint64_t> length = parse_number<uint64_t>(*request_.header("content-length"));
    if (!length) return fail(400, "invalid_http", "Content-Length is a number of bytes.");
    if (*length > limits_.body_bytes)
      return fail(413, "body_too_large", fmt::format("The body has more than {} bytes.", limits_.body_bytes));
    length_ = *length;
  }
  if (lengths + codings == 0 && (request_.method == "POST" || request_.method == "PUT" || request_.method == "PATCH")) {
    return fail(411, "length_required", "A body needs Content-Length or Transfer-Encoding: chunked.");
  }
  return true;
}

// "GET http://host/path", as to a proxy: the target's host stands for the field's. RFC 9112, section 3.2.2.
bool HttpParser::split_absolute_target() {
  const std::string scheme = lower(std::string_view(request_.path).substr(0, 8));
  if (!scheme.starts_with("http://") && scheme != "https://") return true;
  const size_t begin = request_.path.find("//") + 2, end = std::min(request_.path.find('/', begin), request_.path.size());
  const std::string authority = request_.path.substr(begin, end - begin);
  if (authority.empty() || authority.find('@') != authority.npos) return fail(400, "invalid_http", "The target names no host.");
  request_.path = end == request_.path.size() ? "/" : request_.path.substr(end);
  std::erase_if(request_.headers, [](const HttpHeader& header) { return header.name == "host"; });
  request_.headers.push_back({"host", authority});
  return true;
}

bool HttpParser::parse_head() {
  if (!check_lines(head_)) return false;
  Head head(request_, limits_);
  error_code ec;
  const size_t used = head.put(boost::asio::const_buffer(head_.data(), head_.size()), ec);
  if (ec || used != head_.size() || !head.is_done()) return fail(400, "invalid_http", "The head is not HTTP/1.1.");
  if (!check_fields() || !split_absolute_target()) return false;
  const std::string* connection = request_.header("connection");
  const std::string options = connection == nullptr ? "" : lower(*connection);
  request_.keeps_alive = request_.is_http_1_0 ? options.find("keep-alive") != options.npos : options.find("close") == options.npos;
  if (request_.count("transfer-encoding") > 0) chunks_.emplace(limits_.chunks, limits_.body_bytes);
  state_ = chunks_ || length_ > 0 ? State::body : State::complete;
  const std::string* expect = request_.header("expect");
  expects_continue_ = expect != nullptr && lower(*expect) == "100-continue" && !request_.is_http_1_0 && state_ == State::body;
  return true;
}

size_t HttpParser::put_body(std::string_view input) {
  std::string& body = request_.body;
  size_t taken = 0;
  if (!chunks_) {
    taken = std::min(length_ - body.size(), input.size());
    body += input.substr(0, taken);
    if (body.size() == length_) state_ = State::complete;
    return taken;
  }
  taken = chunks_->put(input, body);
  switch (chunks_->state()) {
    case ChunkedBody::State::done: state_ = State::complete; break;
    case ChunkedBody::State::malformed: fail(400, "invalid_http", "The chunks of the body are not well formed."); break;
    case ChunkedBody::State::too_many: fail(400, "invalid_http", fmt::format("The body has more than {} chunks.", limits_.chunks)); break;
    case ChunkedBody::State::too_large:
      fail(413, "body_too_large", fmt::format("The body has more than {} bytes.", limits_.body_bytes));
      break;
    default: break;
  }
  return taken;
}

}  // namespace quern
