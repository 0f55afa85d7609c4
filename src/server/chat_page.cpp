#include "server/chat_page.h"

#include <openssl/evp.h>
#include <openssl/sha.h>

#include <array>

#include "base/error.h"

namespace quern {
namespace {

// 'sha256-...' of what lies between the tags, as browsers compute it.
std::string hash_source(std::string_view page, std::string_view open_tag, std::string_view close_tag) {
  const size_t begin = page.find(open_tag) + open_tag.size();
  const size_t end = page.find(close_tag, begin);
  CHECK(begin >= open_tag.size() && end != page.npos, "the chat page has no {} element", open_tag);
  const std::string_view text = page.substr(begin, end - begin);
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::array<unsigned char, 4 * ((SHA256_DIGEST_LENGTH + 2) / 3) + 1> encoded;
  EVP_EncodeBlock(encoded.data(), digest.data(), static_cast<int>(digest.size()));
  return fmt::format("'sha256-{}'", reinterpret_cast<const char*>(encoded.data()));
}

}  // namespace

HttpReply chat_page_reply(std::string_view page) {
  // One script and one style by their hashes; no other page, image, font, frame or form; nothing becomes HTML but by DOMPurify.
  const std::string policy = fmt::format(
      "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
      "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify",
      hash_source(page, "<script>", "</script>"), hash_source(page, "<style>", "</style>"));
  return {.body = std::string(page),
          .content_type = "text/html; charset=utf-8",
          .headers = {{"Content-Security-Policy", policy},
                      {"Cache-Control", "no-cache"},
                      {"Referrer-Policy", "no-referrer"},
                      {"X-Frame-Options", "DENY"},
                      {"Cross-Origin-Opener-Policy", "same-origin"},
                      {"Permissions-Policy", "camera=(), geolocation=(), microphone=()"}}};
}

}  // namespace quern
