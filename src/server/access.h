// Who may ask: keys, the names that a loopback server answers to, and the origins of pages. Constant after construction; any thread.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"
#include "server/http_message.h"

namespace quern {

struct AccessOptions {
  std::vector<std::string> keys;             // none: no key is asked for
  std::vector<std::string> allowed_origins;  // of pages elsewhere; "*" is any
  std::vector<std::string> allowed_hosts;    // besides the loopback names
  bool checks_host = true;                   // the server listens on the loopback device
};

class Access {
 public:
  explicit Access(const AccessOptions& options);

  // 403 for a foreign Host (a page that rebinds its name reaches loopback servers) or Origin.
  std::optional<ApiError> check_origin(const HttpRequest& request) const;
  // 401 unless the request bears one of the keys, as "Authorization: Bearer KEY" or "x-api-key: KEY". Takes as long for any wrong key.
  std::optional<ApiError> check_key(const HttpRequest& request) const;
  // Access-Control headers for a page of an allowed origin.
  std::vector<HttpHeader> origin_headers(const HttpRequest& request) const;

 private:
  using Digest = std::array<unsigned char, 32>;
  static Digest digest_of(std::string_view key);
  bool is_allowed_origin(std::string_view origin) const;

  AccessOptions options_;
  std::vector<Digest> digests_;
};

}  // namespace quern
