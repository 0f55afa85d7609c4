#include "server/openapi_fields.h"

namespace quern {
namespace {

constexpr const char* kText = R"({"type":"string"})";
constexpr const char* kFlag = R"({"type":"boolean"})";
constexpr const char* kObject = R"({"type":"object"})";
constexpr const char* kCount = R"({"type":"integer","minimum":1,"maximum":2147483647})";
constexpr const char* kBudget = R"({"type":"integer","minimum":-1,"maximum":2147483647})";
constexpr const char* kTokenIds = R"({"type":"array","items":{"$ref":"#/components/schemas/TokenId"}})";
constexpr const char* kMessages = R"({"type":"array","minItems":1,"maxItems":4096,"items":{"$ref":"#/components/schemas/ChatMessage"}})";
constexpr const char* kTools = R"({"type":"array","maxItems":128,"items":{"$ref":"#/components/schemas/Tool"}})";
constexpr const char* kFormat = R"({"$ref":"#/components/schemas/ResponseFormat"})";
constexpr const char* kStructured = R"({"$ref":"#/components/schemas/StructuredOutputs"})";
constexpr const char* kPromptLogprobs = R"({"type":"integer","minimum":0,"maximum":20})";

constexpr BodyField kSampling[] = {
    {"model", kText},
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
    {"min_tokens", R"({"type":"integer","minimum":0,"maximum":2147483647})"},
    {"stop",
     R"({"anyOf":[{"type":"string","minLength":1,"maxLength":256},{"type":"array","maxItems":16,"items":{"type":"string","minLength":1,"maxLength":256}}]})"},
    {"stop_token_ids", R"({"type":"array","maxItems":1024,"items":{"$ref":"#/components/schemas/TokenId"}})"},
    {"ignore_eos", kFlag},
    {"include_stop_str_in_output", kFlag},
    {"skip_special_tokens", kFlag},
    {"n", R"({"type":"integer","minimum":1,"maximum":16})"},
    {"stream", kFlag},
    {"stream_options",
     R"({"type":"object","properties":{"include_usage":{"type":["boolean","null"]},"continuous_usage_stats":{"type":["boolean","null"]}}})"},
    {"priority", R"({"type":"integer","minimum":-1000000,"maximum":1000000})"},
    {"cache_salt", R"({"type":"string","maxLength":1024})"},
    {"truncate_prompt_tokens", R"({"anyOf":[{"const":-1},{"type":"integer","minimum":1,"maximum":2147483647}]})"},
};
constexpr BodyField kChat[] = {
    {"messages", kMessages},
    {"response_format", kFormat},
    {"structured_outputs", kStructured},
    {"max_completion_tokens", kCount},
    {"tools", kTools},
    {"tool_choice", R"({"anyOf":[{"enum":["none","auto","required"]},{"type":"object"}]})"},
    {"parallel_tool_calls", kFlag},
    {"logprobs", kFlag},
    {"top_logprobs", R"({"type":"integer","minimum":0,"maximum":20})"},
    {"prompt_logprobs", kPromptLogprobs},
    {"reasoning_effort", R"({"enum":["none","minimal","low","medium","high","xhigh"]})"},
    {"chat_template_kwargs", kObject},
    {"enable_thinking", kFlag},
    {"include_reasoning", kFlag},
    {"thinking_token_budget", kBudget},
    {"add_generation_prompt", kFlag},
    {"continue_final_message", kFlag},
};
constexpr BodyField kCompletion[] = {
    {"prompt",
     R"({"anyOf":[{"type":"string","minLength":1},{"type":"array","minItems":1,"maxItems":128,"items":{"type":"string","minLength":1}},{"$ref":"#/components/schemas/TokenIds"},{"type":"array","minItems":1,"maxItems":128,"items":{"$ref":"#/components/schemas/TokenIds"}}]})"},
    {"response_format", kFormat},
    {"structured_outputs", kStructured},
    {"max_completion_tokens", kCount},
    {"suffix", kText},
    {"echo", kFlag},
    {"best_of", R"({"type":"integer","minimum":1,"maximum":16})"},
    {"logprobs", R"({"anyOf":[{"type":"boolean"},{"type":"integer","minimum":0,"maximum":20}]})"},
    {"prompt_logprobs", kPromptLogprobs},
};
constexpr BodyField kResponses[] = {
    {"input", R"({"anyOf":[{"type":"string"},{"type":"array","minItems":1,"maxItems":4096,"items":{"type":"object"}}]})"},
    {"instructions", kText},
    {"max_output_tokens", kCount},
    {"tools", R"({"type":"array","maxItems":128,"items":{"type":"object","required":["type","name"]}})"},
    {"tool_choice", R"({"anyOf":[{"enum":["none","auto","required"]},{"type":"object"}]})"},
    {"parallel_tool_calls", kFlag},
    {"reasoning", R"({"type":"object","properties":{"effort":{"type":["string","null"],"maxLength":64}}})"},
    {"text", kObject},
};
constexpr const char* kMessageList =
    R"({"type":"array","minItems":1,"maxItems":4096,"items":{"type":"object","required":["role","content"],"properties":{"role":{"enum":["user","assistant"]},"content":{"anyOf":[{"type":"string"},{"type":"array","items":{"type":"object","required":["type"]}}]}}}})";
constexpr const char* kSystem =
    R"({"anyOf":[{"type":"string"},{"type":"array","items":{"type":"object","required":["type","text"],"properties":{"type":{"const":"text"},"text":{"type":"string"}}}}]})";
constexpr const char* kThinking =
    R"({"type":"object","required":["type"],"properties":{"type":{"enum":["enabled","disabled","adaptive"]},"budget_tokens":{"type":["integer","null"],"minimum":1024,"maximum":2147483647}}})";
constexpr const char* kMessagesTools =
    R"({"type":"array","maxItems":128,"items":{"type":"object","required":["name"],"properties":{"name":{"type":"string","pattern":"^[A-Za-z0-9_-]{1,64}$"},"description":{"type":["string","null"]},"input_schema":{"type":["object","null"]}}}})";
constexpr const char* kMessagesChoice =
    R"({"type":"object","required":["type"],"properties":{"type":{"type":"string"},"name":{"type":["string","null"]},"disable_parallel_tool_use":{"type":["boolean","null"]}}})";
constexpr BodyField kMessagesBody[] = {
    {"messages", kMessageList},
    {"system", kSystem},
    {"temperature", R"({"type":"number","minimum":0,"maximum":1})"},
    {"max_tokens", kCount},
    {"stop_sequences", R"({"type":"array","maxItems":16,"items":{"type":"string","minLength":1,"maxLength":256}})"},
    {"tools", kMessagesTools},
    {"tool_choice", kMessagesChoice},
    {"thinking", kThinking},
};
constexpr BodyField kCountTokens[] = {
    {"messages", kMessageList}, {"system", kSystem}, {"tools", kMessagesTools}, {"tool_choice", kMessagesChoice}, {"thinking", kThinking},
};
constexpr BodyField kTokenize[] = {
    {"model", kText},       {"prompt", kText},           {"content", kText}, {"messages", kMessages}, {"add_special_tokens", kFlag},
    {"with_pieces", kFlag}, {"return_token_strs", kFlag}};
constexpr BodyField kDetokenize[] = {{"model", kText}, {"tokens", kTokenIds}};
constexpr BodyField kTemplate[] = {{"model", kText}, {"messages", kMessages}, {"tools", kTools}, {"chat_template_kwargs", kObject}};
constexpr BodyField kRefused[] = {{"model", kText}};
constexpr BodyField kLlamaCompletion[] = {
    {"prompt", R"({"anyOf":[{"type":"string","minLength":1},{"$ref":"#/components/schemas/TokenIds"}]})"},
    {"n_predict", kBudget},
    {"n_probs", R"({"const":0})"},
    {"n", R"({"const":1})"},
    {"return_tokens", kFlag},
    {"cache_prompt", kFlag},
};

constexpr const char* kStatus = R"({"type":"object","required":["status"],"properties":{"status":{"const":"ok"}}})";
constexpr const char* kModel = R"({"$ref":"#/components/schemas/Model"})";
constexpr const char* kModels =
    R"({"type":"object","required":["object","data"],"properties":{"object":{"const":"list"},"data":{"type":"array","items":{"$ref":"#/components/schemas/Model"}}}})";
constexpr const char* kChatReply =
    R"({"type":"object","required":["id","object","created","model","system_fingerprint","choices","usage"],"properties":{"id":{"type":"string"},"object":{"const":"chat.completion"},"created":{"type":"integer"},"model":{"type":"string"},"choices":{"type":"array","minItems":1,"items":{"type":"object","required":["index","message","logprobs","finish_reason"],"properties":{"index":{"type":"integer"},"message":{"type":"object","required":["role","content","refusal"],"properties":{"role":{"const":"assistant"},"content":{"type":["string","null"]},"reasoning":{"type":"string"},"reasoning_content":{"type":"string"},"tool_calls":{"type":"array","minItems":1,"items":{"type":"object","required":["id","type","function"],"properties":{"id":{"type":"string"},"type":{"const":"function"},"function":{"type":"object","required":["name","arguments"],"properties":{"name":{"type":"string"},"arguments":{"type":"string"}}}}}}}},"logprobs":{"type":["object","null"]},"finish_reason":{"enum":["stop","length","tool_calls"]},"stop_reason":{"type":["string","integer","null"]}}}},"usage":{"$ref":"#/components/schemas/Usage"}}})";
constexpr const char* kCompletionReply =
    R"({"type":"object","required":["id","object","created","model","choices","usage"],"properties":{"id":{"type":"string"},"object":{"const":"text_completion"},"created":{"type":"integer"},"model":{"type":"string"},"choices":{"type":"array","minItems":1,"items":{"type":"object","required":["index","text","logprobs","finish_reason"],"properties":{"index":{"type":"integer"},"text":{"type":"string"},"logprobs":{"type":["object","null"]},"finish_reason":{"enum":["stop","length"]},"stop_reason":{"type":["string","integer","null"]}}}},"usage":{"$ref":"#/components/schemas/Usage"}}})";
constexpr const char* kLlamaReply =
    R"({"type":"object","required":["content","stop","stop_type","tokens_predicted","tokens_evaluated","truncated","timings"],"properties":{"content":{"type":"string"},"stop":{"const":true},"stop_type":{"enum":["eos","limit","word"]}}})";
constexpr const char* kResponsesReply =
    R"({"type":"object","required":["id","object","created_at","status","model","output","usage"],"properties":{"id":{"type":"string"},"object":{"const":"response"},"created_at":{"type":"integer"},"status":{"enum":["completed","incomplete"]},"model":{"type":"string"},"output":{"type":"array","items":{"type":"object","required":["id","type"],"properties":{"type":{"enum":["reasoning","message","function_call"]}}}},"usage":{"type":"object","required":["input_tokens","output_tokens","total_tokens"]}}})";
constexpr const char* kMessagesReply =
    R"({"type":"object","required":["id","type","role","model","content","stop_reason","stop_sequence","usage"],"properties":{"id":{"type":"string"},"type":{"const":"message"},"role":{"const":"assistant"},"content":{"type":"array","items":{"type":"object","required":["type"],"properties":{"type":{"enum":["thinking","text","tool_use"]}}}},"stop_reason":{"enum":["end_turn","max_tokens","stop_sequence","tool_use"]},"stop_sequence":{"type":["string","null"]},"usage":{"type":"object","required":["input_tokens","output_tokens"]}}})";
constexpr const char* kCountReply = R"({"type":"object","required":["input_tokens"],"properties":{"input_tokens":{"type":"integer"}}})";
constexpr const char* kTokenizeReply =
    R"({"type":"object","required":["tokens"],"properties":{"count":{"type":"integer"},"max_model_len":{"type":"integer"},"tokens":{"type":"array","items":{"type":["integer","object"]}},"token_strs":{"type":"array","items":{"type":"string"}}}})";
constexpr const char* kDetokenizeReply =
    R"({"type":"object","required":["prompt","content"],"properties":{"prompt":{"type":"string"},"content":{"type":"string"}}})";
constexpr const char* kTemplateReply = R"({"type":"object","required":["prompt"],"properties":{"prompt":{"type":"string"}}})";
constexpr const char* kVersionReply =
    R"({"type":"object","required":["version","system_fingerprint"],"properties":{"version":{"type":"string"},"system_fingerprint":{"type":"string"}}})";
constexpr const char* kPropsReply =
    R"({"type":"object","required":["model_alias","n_ctx","total_slots","n_vocab","chat_format","build_info"],"properties":{"n_ctx":{"type":"integer"},"total_slots":{"type":"integer"}}})";
constexpr const char* kLoadReply = R"({"type":"object","required":["server_load"],"properties":{"server_load":{"type":"integer"}}})";

const RouteDescription kRoutes[] = {
    {"/", "The chat page", {}, false, "", kText},
    {"/livez", "The event loop beats", {}, false, "", kStatus},
    {"/health", "Ready for requests", {}, false, "", kStatus},
    {"/v1/health", "Ready for requests", {}, false, "", kStatus},
    {"/readyz", "Ready for requests", {}, false, "", kStatus},
    {"/ping", "Ready for requests", {}, false, "", kStatus},
    {"/metrics", "Prometheus text", {}, false, "", kText},
    {"/load", "What is running", {}, false, "", kLoadReply},
    {"/version", "Version and fingerprint", {}, false, "", kVersionReply},
    {"/openapi.json", "This description", {}, false, "", kObject},
    {"/props", "Facts of the model", {}, false, "", kPropsReply},
    {"/v1/models", "Names of the model", {}, false, "", kModels},
    {"/v1/models/", "One name of the model", {}, false, "", kModel},
    {"/v1/chat/completions", "Chat", kChat, true, R"(["messages"])", kChatReply},
    {"/v1/completions", "Text that goes on a prompt", kCompletion, true, R"(["prompt"])", kCompletionReply},
    {"/v1/responses", "OpenAI's responses, without stored state", kResponses, true, R"(["input"])", kResponsesReply},
    {"/v1/messages", "Anthropic's messages", kMessagesBody, true, R"(["messages","max_tokens"])", kMessagesReply},
    {"/v1/messages/count_tokens", "Tokens of a conversation", kCountTokens, false, R"(["messages"])", kCountReply},
    {"/tokenize", "Text to tokens", kTokenize, false, "", kTokenizeReply},
    {"/detokenize", "Tokens to text", kDetokenize, false, R"(["tokens"])", kDetokenizeReply},
    {"/apply-template", "A conversation as a prompt", kTemplate, false, R"(["messages"])", kTemplateReply},
    {"/completion", "llama-server's completion", kLlamaCompletion, true, R"(["prompt"])", kLlamaReply},
    {"/v1/embeddings", "Refused: the models served have no pooling", kRefused},
    {"/v1/rerank", "Refused: the models served have no pooling", kRefused},
    {"/v1/score", "Refused: the models served have no pooling", kRefused},
    {"/pooling", "Refused: the models served have no pooling", kRefused},
    {"/embedding", "Refused: the models served have no pooling", kRefused},
    {"/infill", "Refused: /v1/completions has suffix", kRefused},
};

}  // namespace

std::span<const BodyField> sampling_fields() { return kSampling; }
std::span<const RouteDescription> route_descriptions() { return kRoutes; }

}  // namespace quern
