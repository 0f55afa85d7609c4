#include "server/openapi.h"

#include <algorithm>

#include "base/json.h"
#include "base/version.h"
#include "server/openapi_fields.h"
#include "server/routes.h"

namespace quern {
namespace {

// Schemas that several routes share, but for those that depend on the model.
constexpr BodyField
    kComponents[] =
        {
            {"ChatMessage",
             R"({"anyOf":[{"type":"object","required":["role","content"],"properties":{"role":{"enum":["system","developer","user","assistant","tool","function"]},"content":{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"object","properties":{"type":{"const":"text"},"text":{"type":"string"}},"required":["type","text"]}}]},"reasoning":{"type":["string","null"]},"reasoning_content":{"type":["string","null"]}}},{"type":"object","required":["role","tool_calls"],"properties":{"role":{"const":"assistant"},"content":{"type":["string","null"]},"tool_calls":{"type":"array","minItems":1,"maxItems":128,"items":{"type":"object","required":["function"],"properties":{"function":{"type":"object","required":["name"],"properties":{"name":{"type":"string"},"arguments":{"type":["string","object","null"]}}}}}}}}]})"},
            {"Tool",
             R"({"type":"object","required":["type","function"],"properties":{"type":{"const":"function"},"function":{"type":"object","required":["name"],"properties":{"name":{"type":"string","pattern":"^[A-Za-z0-9_-]{1,64}$"},"description":{"type":["string","null"]},"parameters":{"type":["object","null"]},"strict":{"type":["boolean","null"]}}}}})"},
            {"ResponseFormat",
             R"({"type":"object","properties":{"type":{"enum":["text","json_object","json_schema"]},"json_schema":{"type":["object","null"]}},"required":["type"]})"},
            {"StructuredOutputs",
             R"({"type":"object","properties":{"json":{"type":["object","boolean","null"]},"regex":{"type":["string","null"],"minLength":1},"grammar":{"type":["string","null"],"minLength":1},"choice":{"type":["array","null"],"minItems":1,"maxItems":5000,"items":{"type":"string","minLength":1}},"json_object":{"type":["boolean","null"]}}})"},
            {"Model",
             R"({"type":"object","required":["id","object","created","owned_by","root","parent","max_model_len"],"properties":{"id":{"type":"string"},"object":{"const":"model"},"created":{"type":"integer"},"owned_by":{"type":"string"},"max_model_len":{"type":"integer"}}})"},
            {"Usage",
             R"({"type":"object","required":["prompt_tokens","completion_tokens","total_tokens"],"properties":{"prompt_tokens":{"type":"integer"},"completion_tokens":{"type":"integer"},"total_tokens":{"type":"integer"}}})"},
            {"Error", R"({"type":"object","required":["error"],"properties":{"error":{"type":"object","required":["message","type","param","code"],"properties":{"message":{"type":"string"},"type":{"type":"string"},"param":{"type":["string","null"]},"code":{"type":["string","null"]}}}}})"},
            {"MessagesError",
             R"({"type":"object","required":["error"],"properties":{"type":{"const":"error"},"error":{"type":"object","required":["message","type"],"properties":{"message":{"type":"string"},"type":{"type":"string"}}},"request_id":{"type":"string"}}})"},
};

// What may be wrong with a request to a route; messages_error_reply() turns 503 into 529.
std::vector<int> error_statuses(const Route& route, bool is_messages) {
  std::vector<int> statuses = {400, 403, 408, 414, 431, 500};
  if (!route.is_open) statuses.push_back(401);
  const std::string_view path = route.path;
  if (route.plan != nullptr || route.answer != nullptr) statuses.push_back(404);  // of the model's name
  if (std::string_view(route.method) == "POST") statuses.insert(statuses.end(), {411, 413, 415, 429});
  if (path != "/" && path != "/livez") statuses.push_back(is_messages ? 529 : 503);
  std::ranges::sort(statuses);
  return statuses;
}

// null counts as absent: it stands for every field that need not be there.
Json or_null(Json schema) {
  if (schema.contains("type") && schema.at("type").is_string() && !schema.contains("const")) {
    schema["type"] = Json::array({schema.at("type"), "null"});
    return schema;
  }
  return {{"anyOf", Json::array({std::move(schema), {{"type", "null"}}})}};
}

Json body_of(const RouteDescription& description) {
  const Json required = *description.required == '\0' ? Json::array() : parse_json(description.required, "required");
  Json schema = {{"type", "object"}, {"properties", Json::object()}};
  if (!required.empty()) schema["required"] = required;
  const auto add = [&](std::span<const BodyField> fields) {
    for (const BodyField& field : fields) {
      Json of_field = parse_json(field.schema, field.name);
      const bool is_required = std::ranges::find(required, Json(field.name)) != required.end();
      schema["properties"][field.name] = is_required ? std::move(of_field) : or_null(std::move(of_field));
    }
  };
  if (description.has_sampling) add(sampling_fields());
  add(description.fields);
  return {{"required", true}, {"content", {{"application/json", {{"schema", std::move(schema)}}}}}};
}

const char* media_of(const Route& route) {
  switch (route.kind) {
    case Route::Kind::page: return "text/html";
    case Route::Kind::metrics: return "text/plain";
    default: return "application/json";
  }
}

// "get_v1_models" of GET /v1/models.
std::string operation_id(const Route& route) {
  std::string id = std::string_view(route.method) == "GET" ? "get" : "post";
  for (const char* c = route.path; *c != '\0'; ++c) id += (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') ? *c : '_';
  return id;
}

Json operation_of(const Route& route, const RouteDescription& description) {
  Json operation = {{"summary", description.summary},
                    {"operationId", operation_id(route)},
                    {"security", route.is_open ? Json::array() : Json::array({{{"bearer", Json::array()}}})}};
  Json& replies = operation["responses"];
  if (description.reply != nullptr) {
    Json& content = replies["200"]["content"];
    replies["200"]["description"] = "The answer";
    content[media_of(route)]["schema"] = parse_json(description.reply, route.path);
    if (route.kind == Route::Kind::generate) content["text/event-stream"]["schema"] = Json::object();
  }
  const bool is_messages = std::string_view(route.path).starts_with("/v1/messages");
  for (const int status : error_statuses(route, is_messages)) {
    replies[fmt::format("{}", status)] = {{"$ref", is_messages ? "#/components/responses/MessagesError" : "#/components/responses/Error"}};
  }
  if (!description.fields.empty()) operation["requestBody"] = body_of(description);
  return operation;
}

Json components_of(const ServedModel& model) {
  Json components;
  components["securitySchemes"]["bearer"] = {{"type", "http"}, {"scheme", "bearer"}};
  Json& schemas = components["schemas"];
  for (const BodyField& schema : kComponents) schemas[schema.name] = parse_json(schema.schema, schema.name);
  schemas["TokenId"] = {{"type", "integer"}, {"minimum", 0}, {"maximum", model.engine->num_tokens() - 1}};
  schemas["TokenIds"] = {{"type", "array"}, {"minItems", 1}, {"items", {{"$ref", "#/components/schemas/TokenId"}}}};
  for (const char* name : {"Error", "MessagesError"}) {
    components["responses"][name] = {
        {"description", "An error"},
        {"content", {{"application/json", {{"schema", {{"$ref", std::string("#/components/schemas/") + name}}}}}}}};
  }
  return components;
}

}  // namespace

HttpReply answer_openapi(const HttpRequest&, const ServedModel& model) {
  Json document = {{"openapi", "3.1.0"}, {"info", {{"title", "Quern"}, {"version", kVersion}}}};
  for (const Route& route : routes()) {
    const auto descriptions = route_descriptions();
    const auto description =
        std::ranges::find_if(descriptions, [&](const RouteDescription& each) { return std::string_view(each.path) == route.path; });
    CHECK(description != descriptions.end(), "{} is not described", route.path);
    std::string path = route.path;
    const bool has_segment = path.size() > 1 && path.ends_with('/');
    if (has_segment) path += "{id}";
    const bool is_get = std::string_view(route.method) == "GET";
    Json operation = operation_of(route, *description);
    if (has_segment) {
      operation["parameters"] = Json::array({{{"name", "id"}, {"in", "path"}, {"required", true}, {"schema", {{"type", "string"}}}}});
    }
    document["paths"][path][is_get ? "get" : "post"] = std::move(operation);
  }
  document["components"] = components_of(model);
  return {.body = document.dump()};
}

}  // namespace quern
