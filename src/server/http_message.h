// A request as it came and a reply as it goes out, without their framing. Plain data.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quern {

struct HttpHeader {
  std::string name, value;  // of a request: the name in small letters
};

struct HttpRequest {
  std::string method;        // as sent
  std::string path, query;   // of the target, split at the first '?'; nothing is decoded or normalised
  bool is_http_1_0 = false;  // the answer to it is not chunked
  bool keeps_alive = true;
  std::vector<HttpHeader> headers;
  std::string body;

  // The first header of that name (small letters), null when there is none.
  const std::string* header(std::string_view name) const;
  size_t count(std::string_view name) const;
};

struct HttpReply {
  int status = 200;
  std::string body = {};
  std::string content_type = "application/json";
  std::vector<HttpHeader> headers = {};
};

const char* http_reason(int status);
// "%2F" as '/': of one segment of a path. What is no pair of hexadecimal digits stays as it is.
std::string percent_decoded(std::string_view segment);

}  // namespace quern
