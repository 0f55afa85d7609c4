#include "server/access.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>

namespace quern {
namespace {

// "[::1]" of "[::1]:8000", "localhost" of "localhost:8000".
std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1);
  return host.substr(0, host.find(':'));
}

bool equal_names(std::string_view a, std::string_view b) {
  const auto small = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(a, b, [&](char x, char y) { return small(x) == small(y); });
}

}  // namespace

Access::Access(const AccessOptions& options) : options_(options) {
  for (const std::string& key : options.keys) digests_.push_back(digest_of(key));
  options_.keys.clear();
}

Access::Digest Access::digest_of(std::string_view key) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  return digest;
}

bool Access::is_allowed_origin(std::string_view origin) const {
  return std::ranges::any_of(options_.allowed_origins,
                             [&](const std::string& allowed) { return allowed == "*" || equal_names(allowed, origin); });
}

std::optional<ApiError> Access::check_origin(const HttpRequest& request) const {
  const std::string* host = request.header("host");
  if (options_.checks_host && host != nullptr) {
    const std::string_view name = without_port(*host);
    bool is_known = name == "127.0.0.1" || name == "[::1]" || equal_names(name, "localhost");
    for (const std::string& allowed : options_.allowed_hosts)
      is_known = is_known || equal_names(name, allowed) || equal_names(*host, allowed);
    if (!is_known) return api_error(403, "permission_error", "host_not_allowed", "This server answers to its loopback names only.");
  }
  const std::string* origin = request.header("origin");
  if (origin == nullptr || is_allowed_origin(*origin)) return std::nullopt;
  const size_t scheme = origin->find("://");
  const bool is_own = host != nullptr && scheme != origin->npos && equal_names(std::string_view(*origin).substr(scheme + 3), *host);
  if (is_own) return std::nullopt;
  return api_error(403, "permission_error", "origin_not_allowed", "Pages of this origin may not use this server.");
}

std::optional<ApiError> Access::check_key(const HttpRequest& request) const {
  if (digests_.empty()) return std::nullopt;
  constexpr std::string_view kBearer = "bearer ";
  std::string_view key;
  if (const std::string* given = request.header("authorization"); given != nullptr && request.count("authorization") == 1) {
    if (given->size() > kBearer.size() && equal_names(std::string_view(*given).substr(0, kBearer.size()), kBearer)) {
      key = std::string_view(*given).substr(kBearer.size());
    }
  } else if (const std::string* plain = request.header("x-api-key"); plain != nullptr && request.count("x-api-key") == 1) {
    key = *plain;
  }
  const Digest digest = digest_of(key);
  int num_equal = 0;
  for (const Digest& known : digests_) num_equal += CRYPTO_memcmp(known.data(), digest.data(), digest.size()) == 0 ? 1 : 0;
  if (num_equal > 0 && !key.empty()) return std::nullopt;
  return api_error(401, "authentication_error", "invalid_api_key", "The API key is missing or wrong.");
}

std::vector<HttpHeader> Access::origin_headers(const HttpRequest& request) const {
  const std::string* origin = request.header("origin");
  if (origin == nullptr || !is_allowed_origin(*origin)) return {};
  return {{"Access-Control-Allow-Origin", *origin},
          {"Vary", "Origin"},
          {"Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS"},
          {"Access-Control-Allow-Headers", "authorization, content-type, x-api-key, anthropic-version, x-request-id"},
          {"Access-Control-Expose-Headers", "x-request-id, retry-after"},
          {"Access-Control-Max-Age", "600"}};
}

}  // namespace quern
