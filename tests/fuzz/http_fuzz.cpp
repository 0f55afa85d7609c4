// HTTP requests: any bytes are a request, wait for more, or are refused with a 4xx; cut anywhere, they are read the same.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "server/http_parser.h"

namespace {

using namespace quern;

constexpr HttpLimits kLimits = {.header_bytes = 2048, .headers = 16, .target_bytes = 256, .body_bytes = 4096, .chunks = 64};

struct Read {
  HttpParser::State state;
  size_t taken;
  int status;
  HttpRequest request;
};

// In pieces of at most `piece` bytes; what a call leaves comes again with the next piece.
Read read(std::string_view input, size_t piece) {
  HttpParser parser(kLimits);
  size_t taken = 0, end = 0;
  while (end < input.size() && parser.state() != HttpParser::State::complete && parser.state() != HttpParser::State::failed) {
    end = std::min(input.size(), end + piece);
    const size_t took = parser.put(input.substr(taken, end - taken));
    if (took > end - taken) std::abort();
    taken += took;
  }
  Read result{.state = parser.state(), .taken = taken, .status = parser.error().status, .request = {}};
  if (result.state == HttpParser::State::complete) result.request = parser.take();
  return result;
}

bool same(const HttpRequest& a, const HttpRequest& b) {
  const auto equal = [](const HttpHeader& x, const HttpHeader& y) { return x.name == y.name && x.value == y.value; };
  return a.method == b.method && a.path == b.path && a.query == b.query && a.is_http_1_0 == b.is_http_1_0 &&
         a.keeps_alive == b.keeps_alive && a.body == b.body &&
         std::equal(a.headers.begin(), a.headers.end(), b.headers.begin(), b.headers.end(), equal);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Read whole = read(input, input.size()), parts = read(input, 1 + data[0] % 32U);
  if (whole.state != parts.state) std::abort();
  if (whole.state == HttpParser::State::failed && (whole.status < 400 || whole.status > 599)) std::abort();
  if (whole.state == HttpParser::State::complete) {
    if (whole.taken != parts.taken || !same(whole.request, parts.request)) std::abort();
    if (whole.request.body.size() > kLimits.body_bytes || whole.request.headers.size() > kLimits.headers) std::abort();
  }
  return 0;
}
