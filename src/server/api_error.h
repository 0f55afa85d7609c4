// What a client is told when its request cannot be served: a status and a body in OpenAI's form. Thrown while a request is read; plain
// data everywhere else.
#pragma once
#include <fmt/format.h>

#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "base/error.h"
#include "server/http_message.h"

namespace quern {

struct ApiError : std::exception {
  int status = 400;
  std::string type = "invalid_request_error";
  std::string code = "invalid_value";
  std::string param = {};    // names the field, with its index ("messages[2].content"); "": null
  std::string message = {};  // fixed text and escaped values; no paths, keys, prompts or library texts
  std::optional<double> retry_after = {};
  bool repeats = false;                                              // the same request would fail again: clients are told not to retry
  std::optional<std::pair<size_t, size_t>> prompt_and_context = {};  // tokens; for prompts that are too long

  const char* what() const noexcept override { return message.c_str(); }

  // {"error":{"message","type","param","code"}}
  std::string body() const;
  // The whole reply, with Retry-After and its kin.
  HttpReply reply() const;
};

// 400 for one field. Form of the message: "want X, found Y".
template <class... T>
ApiError field_error(std::string param, fmt::format_string<T...> format, T&&... args) {
  ApiError error;
  error.message = param + ": " + fmt::format(format, std::forward<T>(args)...);
  error.param = std::move(param);
  return error;
}

// Any other: 401 authentication_error / invalid_api_key and so on.
ApiError api_error(int status, std::string type, std::string code, std::string message);
// 429 and 503: the client may come again.
ApiError try_later(int status, std::string code, std::string message, double seconds);
// A failure that the code below reports: a bad field or prompt is a 400, all else a 500 that says nothing of the inside.
ApiError from_exception(const std::exception& error);

}  // namespace quern
