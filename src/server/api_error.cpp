#include "server/api_error.h"

#include <cmath>

#include "server/json_writer.h"

namespace quern {

std::string ApiError::body() const {
  std::string out;
  JsonWriter json(out);
  json.begin_object().key("error").begin_object();
  json.field("message", message).field("type", type);
  param.empty() ? json.null_field("param") : json.field("param", param);
  code.empty() ? json.null_field("code") : json.field("code", code);
  if (prompt_and_context) json.field("n_prompt_tokens", prompt_and_context->first).field("n_ctx", prompt_and_context->second);
  json.end_object().end_object();
  return out;
}

HttpReply ApiError::reply() const {
  HttpReply reply{.status = status, .body = body()};
  if (retry_after) {
    reply.headers.push_back({"Retry-After", fmt::format("{}", static_cast<int64_t>(std::ceil(*retry_after)))});
    reply.headers.push_back({"retry-after-ms", fmt::format("{}", static_cast<int64_t>(std::ceil(*retry_after * 1000)))});
  }
  if (repeats) reply.headers.push_back({"x-should-retry", "false"});
  if (status == 401) reply.headers.push_back({"WWW-Authenticate", "Bearer"});
  return reply;
}

ApiError api_error(int status, std::string type, std::string code, std::string message) {
  ApiError error;
  error.status = status;
  error.type = std::move(type);
  error.code = std::move(code);
  error.message = std::move(message);
  return error;
}

ApiError try_later(int status, std::string code, std::string message, double seconds) {
  ApiError error = api_error(status, status == 429 ? "rate_limit_error" : "unavailable_error", std::move(code), std::move(message));
  error.retry_after = seconds;
  return error;
}

ApiError from_exception(const std::exception& error) {
  if (const auto* ready = dynamic_cast<const ApiError*>(&error)) return *ready;
  if (const auto* known = dynamic_cast<const Error*>(&error);
      known != nullptr && (known->code() == usage || known->code() == invalid_input)) {
    ApiError bad = api_error(400, "invalid_request_error", "invalid_value", escaped(known->message(), 400));
    const std::string& text = known->message();
    const std::string field = text.substr(0, text.find(':'));  // "top_p: want ..."
    if (field.size() < text.size() && field.find(' ') == field.npos) bad.param = escaped(field, 100);
    return bad;
  }
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return try_later(503, "out_of_memory", "The server is out of memory.", 5);
  return api_error(500, "server_error", "internal", "The server failed on this request.");
}

}  // namespace quern
