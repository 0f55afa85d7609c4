#include "server/openapi.h"

#include <span>

#include "base/json.h"
#include "base/version.h"
#include "server/routes.h"

namespace quern {
namespace {

// A field of a body and its schema, as JSON text.
struct Field {
  const char* name;
  const char* schema;
};

constexpr Field kSampling[] = {
    {"model", R"({"type":"string"})"},
    {"temperature", R"({"type":"number","minimum":0,"maximum":2})"},
    {"top_p", R"({"type":"number","exclusiveMinimum":0,"maximum":1})"},
    {"top_k", R"({"type":"integer","minimum":-1})"},
    {"min_p", R"({"type":"number","minimum":0,"maximum":1})"},
    {"presence_penalty", R"({"type":"number","minimum":-2,"maximum":2})"},
    {"frequency_penalty", R"({"type":"number","minimum":-2,"maximum":2})"},
    {"repetition_penalty", R"({"type":"number","exclusiveMinimum":0,"maximum":10})"},
    {"logit_bias", R"({"type":"object","additionalProperties":{"type":"number","minimum":-100,"maximum":100},"maxProperties":1024})"},
    {"seed", R"({"type":"integer","format":"int64"})"},
    {"max_tokens", R"({"type":"integer","minimum":0,"maximum":2147483647})"},
    {"min_tokens", R"({"type":"integer","minimum":0})"},
    {"stop",
     R"({"anyOf":[{"type":"string","minLength":1,"maxLength":256},{"type":"array","maxItems":16,"items":{"type":"string","minLength":1}}]})"},
    {"stop_token_ids", R"({"type":"array","maxItems":1024,"items":{"type":"integer","minimum":0}})"},
    {"ignore_eos", R"({"type":"boolean"})"},
    {"include_stop_str_in_output", R"({"type":"boolean"})"},
    {"skip_special_tokens", R"({"type":"boolean"})"},
    {"n", R"({"type":"integer","minimum":1,"maximum":16})"},
    {"stream", R"({"type":"boolean"})"},
    {"stream_options",
     R"({"type":"object","properties":{"include_usage":{"type":"boolean"},"continuous_usage_stats":{"type":"boolean"}}})"},
    {"priority", R"({"type":"integer","minimum":-1000000,"maximum":1000000})"},
    {"cache_salt", R"({"type":"string","maxLength":1024})"},
    {"truncate_prompt_tokens", R"({"type":"integer","minimum":-1})"},
};

constexpr const char* kText = R"({"type":"string"})";
constexpr const char* kFlag = R"({"type":"boolean"})";
constexpr const char* kMessages =
    R"({"type":"array","minItems":1,"maxItems":4096,"items":{"type":"object","required":["role"],"properties":{"role":{"enum":["system","developer","user","assistant","tool","function"]},"content":{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"object","properties":{"type":{"enum":["text"]},"text":{"type":"string"}},"required":["type","text"]}}]}}}})";
constexpr const char* kPrompt =
    R"({"anyOf":[{"type":"string","minLength":1},{"type":"array","minItems":1,"maxItems":128,"items":{"type":"string","minLength":1}},{"type":"array","minItems":1,"items":{"type":"integer","minimum":0}}]})";
constexpr const char* kTools =
    R"({"type":"array","maxItems":128,"items":{"type":"object","required":["type","function"],"properties":{"type":{"enum":["function"]},"function":{"type":"object","required":["name"],"properties":{"name":{"type":"string","pattern":"^[A-Za-z0-9_-]{1,64}$"},"description":{"type":"string"},"parameters":{"type":"object"}}}}}})";
constexpr const char* kStructured =
    R"({"type":"object","properties":{"json":{"type":"object"},"regex":{"type":"string"},"grammar":{"type":"string"},"choice":{"type":"array","items":{"type":"string"}},"json_object":{"type":"boolean"}}})";
constexpr const char* kFormat =
    R"({"type":"object","properties":{"type":{"enum":["text","json_object","json_schema"]},"json_schema":{"type":"object"}},"required":["type"]})";
constexpr const char* kBudget = R"({"type":"integer","minimum":-1})";

constexpr Field kChat[] = {
    {"structured_outputs", kStructured},
    {"response_format", kFormat},
    {"messages", kMessages},
    {"max_completion_tokens", R"({"type":"integer","minimum":1})"},
    {"tools", kTools},
    {"tool_choice", R"({"anyOf":[{"enum":["none","auto","required"]},{"type":"object"}]})"},
    {"parallel_tool_calls", kFlag},
    {"logprobs", kFlag},
    {"top_logprobs", R"({"type":"integer","minimum":0,"maximum":20})"},
    {"reasoning_effort", R"({"enum":["none","minimal","low","medium","high"]})"},
    {"chat_template_kwargs", R"({"type":"object"})"},
    {"enable_thinking", kFlag},
    {"include_reasoning", kFlag},
    {"thinking_token_budget", kBudget},
    {"add_generation_prompt", kFlag},
    {"continue_final_message", kFlag},
};
constexpr Field kCompletion[] = {
    {"structured_outputs", kStructured},
    {"response_format", kFormat},
    {"prompt", kPrompt},
    {"suffix", kText},
    {"echo", kFlag},
    {"best_of", R"({"type":"integer","minimum":1,"maximum":16})"},
    {"logprobs", R"({"type":"integer","minimum":0,"maximum":20})"},
};
constexpr Field kResponses[] = {
    {"input", R"({"anyOf":[{"type":"string"},{"type":"array","items":{"type":"object"}}]})"},
    {"instructions", kText},
    {"max_output_tokens", R"({"type":"integer","minimum":1})"},
    {"reasoning", R"({"type":"object","properties":{"effort":{"type":"string"}}})"},
    {"text", R"({"type":"object"})"},
};
constexpr Field kMessagesBody[] = {
    {"messages", R"({"type":"array","minItems":1,"items":{"type":"object","required":["role","content"]}})"},
    {"system", R"({"anyOf":[{"type":"string"},{"type":"array","items":{"type":"object"}}]})"},
    {"stop_sequences", R"({"type":"array","maxItems":16,"items":{"type":"string"}})"},
    {"thinking",
     R"({"type":"object","properties":{"type":{"enum":["enabled","disabled","adaptive"]},"budget_tokens":{"type":"integer"}}})"},
};
constexpr Field kTokenize[] = {{"prompt", kText},      {"content", kText},          {"messages", kMessages}, {"add_special_tokens", kFlag},
                               {"with_pieces", kFlag}, {"return_token_strs", kFlag}};
constexpr Field kDetokenize[] = {{"tokens", R"({"type":"array","items":{"type":"integer","minimum":0}})"}};
constexpr Field kTemplate[] = {{"messages", kMessages}, {"tools", kTools}, {"chat_template_kwargs", R"({"type":"object"})"}};
constexpr Field kEmbeddings[] = {{"input", R"({"anyOf":[{"type":"string"},{"type":"array"}]})"},
                                 {"encoding_format", R"({"enum":["float","base64"]})"}};

struct Body {
  const char* path;
  const char* summary;
  std::span<const Field> fields;
  bool has_sampling;
  const char* required;  // the field that must be there, "" for none
};
const Body kBodies[] = {
    {"/v1/chat/completions", "Chat", kChat, true, "messages"},
    {"/v1/completions", "Text that goes on a prompt", kCompletion, true, "prompt"},
    {"/v1/responses", "OpenAI's responses, without stored state", kResponses, true, "input"},
    {"/v1/messages", "Anthropic's messages", kMessagesBody, true, "messages"},
    {"/v1/messages/count_tokens", "Tokens of a conversation", kMessagesBody, false, "messages"},
    {"/tokenize", "Text to tokens", kTokenize, false, ""},
    {"/detokenize", "Tokens to text", kDetokenize, false, "tokens"},
    {"/apply-template", "A conversation as a prompt", kTemplate, false, "messages"},
    {"/v1/embeddings", "Refused: the models served have no pooling", kEmbeddings, false, ""},
};

void add_fields(Json& properties, std::span<const Field> fields) {
  for (const Field& field : fields) properties[field.name] = parse_json(field.schema, field.name);
}

Json reply_of(const char* text, const char* media) {
  Json reply = {{"description", text}};
  reply["content"][media]["schema"] = Json::object();
  return reply;
}

Json operation_of(const Route& route) {
  Json operation = {{"summary", route.path}, {"security", route.is_open ? Json::array() : Json::array({{{"bearer", Json::array()}}})}};
  Json& replies = operation["responses"];
  replies["200"] = reply_of("The answer", route.kind == Route::Kind::metrics ? "text/plain" : "application/json");
  if (route.kind == Route::Kind::generate) replies["200"]["content"]["text/event-stream"]["schema"] = {{"type", "string"}};
  replies["default"] = {{"description", "An error"},
                        {"content", {{"application/json", {{"schema", {{"$ref", "#/components/schemas/Error"}}}}}}}};
  for (const Body& body : kBodies) {
    if (std::string_view(body.path) != route.path) continue;
    operation["summary"] = body.summary;
    Json schema = {{"type", "object"}, {"properties", Json::object()}};
    if (body.has_sampling) add_fields(schema["properties"], kSampling);
    add_fields(schema["properties"], body.fields);
    if (*body.required != '\0') schema["required"] = {body.required};
    operation["requestBody"] = {{"required", true}, {"content", {{"application/json", {{"schema", schema}}}}}};
  }
  return operation;
}

}  // namespace

HttpReply answer_openapi(const HttpRequest&, const ServedModel&) {
  Json document = {{"openapi", "3.1.0"}, {"info", {{"title", "Quern"}, {"version", kVersion}}}};
  for (const Route& route : routes()) {
    std::string path = route.path;
    const bool has_segment = path.size() > 1 && path.ends_with('/');
    if (has_segment) path += "{id}";
    const bool is_get = std::string_view(route.method) == "GET";
    Json operation = operation_of(route);
    if (has_segment) {
      operation["parameters"] = Json::array({{{"name", "id"}, {"in", "path"}, {"required", true}, {"schema", {{"type", "string"}}}}});
    }
    document["paths"][path][is_get ? "get" : "post"] = std::move(operation);
  }
  document["components"]["securitySchemes"]["bearer"] = {{"type", "http"}, {"scheme", "bearer"}};
  document["components"]["schemas"]["Error"] = parse_json(
      R"({"type":"object","required":["error"],"properties":{"error":{"type":"object","required":["message","type"],"properties":{"message":{"type":"string"},"type":{"type":"string"},"param":{"type":["string","null"]},"code":{"type":["string","null"]}}}}})",
      "error");
  return {.body = document.dump()};
}

}  // namespace quern
