#include "server/http_message.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace quern {

const std::string* HttpRequest::header(std::string_view name) const {
  const auto found = std::ranges::find_if(headers, [&](const HttpHeader& header) { return header.name == name; });
  return found == headers.end() ? nullptr : &found->value;
}

size_t HttpRequest::count(std::string_view name) const {
  return static_cast<size_t>(std::ranges::count_if(headers, [&](const HttpHeader& header) { return header.name == name; }));
}

const char* http_reason(int status) {
  static constexpr std::pair<int, const char*> kReasons[] = {
      {200, "OK"},
      {204, "No Content"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {403, "Forbidden"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {408, "Request Timeout"},
      {411, "Length Required"},
      {413, "Content Too Large"},
      {414, "URI Too Long"},
      {415, "Unsupported Media Type"},
      {429, "Too Many Requests"},
      {431, "Request Header Fields Too Large"},
      {500, "Internal Server Error"},
      {503, "Service Unavailable"},
      {505, "HTTP Version Not Supported"},
      {529, "Overloaded"},
  };
  const auto* found = std::ranges::find_if(kReasons, [&](const auto& row) { return row.first == status; });
  return found == std::end(kReasons) ? "Status" : found->second;
}

std::string percent_decoded(std::string_view segment) {
  const auto digit = [&](size_t at) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    if (at >= segment.size()) return kDigits.npos;
    const char c = segment[at];
    return kDigits.find(c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c);
  };
  std::string out;
  for (size_t at = 0; at < segment.size(); ++at) {
    const size_t high = digit(at + 1), low = digit(at + 2);
    const bool is_coded = segment[at] == '%' && high != std::string_view::npos && low != std::string_view::npos;
    out += is_coded ? static_cast<char>(high * 16 + low) : segment[at];
    at += is_coded ? 2 : 0;
  }
  return out;
}

}  // namespace quern
