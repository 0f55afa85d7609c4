#include "server/routes.h"

#include "server/chat_request.h"
#include "server/completion_request.h"
#include "server/llama_completion.h"
#include "server/messages_request.h"
#include "server/openapi.h"
#include "server/responses_request.h"
#include "server/text_routes.h"

namespace quern {
namespace {

using Kind = Route::Kind;

constexpr Route kRoutes[] = {
    {"/", "GET", Kind::page, true},
    {"/livez", "GET", Kind::live, true},
    {"/health", "GET", Kind::ready, true},
    {"/v1/health", "GET", Kind::ready, true},
    {"/readyz", "GET", Kind::ready, true},
    {"/ping", "GET", Kind::ready, true},
    {"/metrics", "GET", Kind::metrics},
    {"/load", "GET", Kind::load},
    {"/version", "GET", Kind::answer, false, &answer_version},
    {"/openapi.json", "GET", Kind::answer, false, &answer_openapi},
    {"/props", "GET", Kind::answer, false, &answer_props},
    {"/v1/models", "GET", Kind::answer, false, &answer_models},
    {"/v1/models/", "GET", Kind::answer, false, &answer_model},
    {"/tokenize", "POST", Kind::answer, false, &answer_tokenize},
    {"/detokenize", "POST", Kind::answer, false, &answer_detokenize},
    {"/apply-template", "POST", Kind::answer, false, &answer_apply_template},
    {"/v1/embeddings", "POST", Kind::answer, false, &answer_pooling},
    {"/v1/rerank", "POST", Kind::answer, false, &answer_pooling},
    {"/v1/score", "POST", Kind::answer, false, &answer_pooling},
    {"/pooling", "POST", Kind::answer, false, &answer_pooling},
    {"/embedding", "POST", Kind::answer, false, &answer_pooling},
    {"/infill", "POST", Kind::answer, false, &answer_infill},
    {"/completion", "POST", Kind::generate, false, nullptr, &read_llama_completion},
    {"/v1/chat/completions", "POST", Kind::generate, false, nullptr, &read_chat_request},
    {"/v1/completions", "POST", Kind::generate, false, nullptr, &read_completion_request},
    {"/v1/responses", "POST", Kind::generate, false, nullptr, &read_responses_request},
    {"/v1/messages", "POST", Kind::generate, false, nullptr, &read_messages_request},
    {"/v1/messages/count_tokens", "POST", Kind::answer, false, &answer_count_tokens},
};

bool path_matches(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with('/') || pattern == "/") return path == pattern;
  return path.starts_with(pattern) && path.size() > pattern.size();
}

// OpenAI's routes also go without /v1.
bool matches(const Route& route, std::string_view path) {
  const std::string_view pattern = route.path;
  return path_matches(pattern, path) || (pattern.starts_with("/v1/") && path_matches(pattern.substr(3), path));
}

}  // namespace

std::span<const Route> routes() { return kRoutes; }

RouteMatch find_route(std::string_view method, std::string_view path) {
  RouteMatch match;
  for (const Route& route : kRoutes) {
    if (!matches(route, path)) continue;
    const bool is_get = std::string_view(route.method) == "GET";
    if (method == route.method || (is_get && method == "HEAD")) {
      match.route = &route;
      return match;
    }
    match.allowed += (match.allowed.empty() ? "" : ", ") + std::string(is_get ? "GET, HEAD" : route.method);
  }
  return match;
}

}  // namespace quern
