#include "server/messages_answer.h"

#include "base/json.h"
#include "server/random_id.h"

namespace quern {
namespace {

using Kind = AnswerPart::Kind;

void append_named_event(std::string& out, const char* name, std::string_view json) {
  out += "event: ";
  out += name;
  out += "\ndata: ";
  out += json;
  out += "\n\n";
}

const char* error_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 500: return "api_error";
    case 503:
    case 529: return "overloaded_error";
    default: return "invalid_request_error";
  }
}

std::string error_json(const ApiError& error, const std::string& request_id) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("type", "error").key("error").begin_object();
  json.field("type", error_type(error.status)).field("message", error.message).end_object();
  if (!request_id.empty()) json.field("request_id", request_id);
  json.end_object();
  return out;
}

// The arguments of a call as an object; what is none counts as empty.
std::string input_of(const std::string& arguments) {
  try {
    if (parse_json(arguments, "input").is_object()) return arguments;
  } catch (const Error&) {
  }
  return "{}";
}

}  // namespace

HttpReply messages_error_reply(const ApiError& error, const std::string& request_id) {
  HttpReply reply = error.reply();
  if (reply.status == 503) reply.status = 529;
  reply.body = error_json(error, request_id);
  return reply;
}

MessagesAnswer::MessagesAnswer(MessageOptions options) : options_(std::move(options)), parser_(options_.parser) {
  totals_.prompt_tokens = options_.prompt_tokens;
}

MessagesAnswer::BlockType MessagesAnswer::type_of(Kind kind) {
  return kind == Kind::reasoning ? BlockType::thinking : kind == Kind::content ? BlockType::text : BlockType::tool_use;
}

void MessagesAnswer::write_usage(JsonWriter& json) {
  json.key("usage").begin_object().field("input_tokens", totals_.prompt_tokens - totals_.cached_tokens);
  json.field("output_tokens", totals_.output_tokens).field("cache_read_input_tokens", totals_.cached_tokens);
  json.field("cache_creation_input_tokens", 0).end_object();
}

void MessagesAnswer::write_stop(JsonWriter& json) {
  if (!finish_) {
    json.null_field("stop_reason").null_field("stop_sequence");
    return;
  }
  const bool is_sequence = !finish_->stop_string.empty();
  const char* reason = is_sequence                               ? "stop_sequence"
                       : finish_->reason == FinishReason::length ? "max_tokens"
                       : parser_.num_tool_calls() > 0            ? "tool_use"
                                                                 : "end_turn";
  json.field("stop_reason", reason);
  is_sequence ? json.field("stop_sequence", finish_->stop_string) : json.null_field("stop_sequence");
}

void MessagesAnswer::write_block(JsonWriter& json, const Block& block) {
  json.begin_object();
  switch (block.type) {
    case BlockType::thinking: json.field("type", "thinking").field("thinking", block.text).field("signature", ""); break;
    case BlockType::text: json.field("type", "text").field("text", block.text); break;
    case BlockType::tool_use:
      json.field("type", "tool_use").field("id", block.id).field("name", block.name).raw_field("input", input_of(block.text));
      break;
  }
  json.end_object();
}

void MessagesAnswer::write_message(JsonWriter& json, bool is_whole) {
  json.begin_object().field("id", options_.id).field("type", "message").field("role", "assistant").field("model", options_.model);
  json.key("content").begin_array();
  if (is_whole) {
    for (const Block& block : blocks_) write_block(json, block);
  }
  json.end_array();
  write_stop(json);
  write_usage(json);
  json.end_object();
}

void MessagesAnswer::begin(std::string& out) {
  std::string text;
  JsonWriter json(text);
  json.begin_object().field("type", "message_start").key("message");
  write_message(json, false);
  json.end_object();
  append_named_event(out, "message_start", text);
  out += ping();
}

void MessagesAnswer::add(size_t, SessionOutput output, std::string& out) {
  if (finish_) return;
  totals_.output_tokens += output.tokens.size();
  std::vector<AnswerPart> parts;
  parser_.push(output.text, parts);
  if (output.finish) {
    parser_.finish(parts);
    totals_.cached_tokens = output.finish->usage.cached_tokens;
  }
  for (const AnswerPart& part : parts) take(part, out);
  if (!output.finish) return;
  finish_ = output.finish;
  if (options_.is_stream) close_block(out);
}

void MessagesAnswer::take(const AnswerPart& part, std::string& out) {
  const BlockType type = type_of(part.kind);
  const bool goes_on =
      !blocks_.empty() && blocks_.back().type == type && blocks_.back().tool_index == part.tool_index && part.kind != Kind::tool_name;
  if (!goes_on) open_block(part, out);
  if (part.kind == Kind::tool_name) return;
  blocks_.back().text += part.text;
  if (!options_.is_stream) return;
  std::string text;
  JsonWriter json(text);
  json.begin_object().field("type", "content_block_delta").field("index", blocks_.size() - 1).key("delta").begin_object();
  switch (type) {
    case BlockType::thinking: json.field("type", "thinking_delta").field("thinking", part.text); break;
    case BlockType::text: json.field("type", "text_delta").field("text", part.text); break;
    case BlockType::tool_use: json.field("type", "input_json_delta").field("partial_json", part.text); break;
  }
  json.end_object().end_object();
  append_named_event(out, "content_block_delta", text);
}

void MessagesAnswer::open_block(const AnswerPart& part, std::string& out) {
  if (options_.is_stream) close_block(out);
  Block block{.type = type_of(part.kind), .tool_index = part.tool_index, .id = {}, .name = {}, .text = {}};
  if (block.type == BlockType::tool_use) block.id = "toolu_" + random_id().substr(0, 24), block.name = part.text;
  blocks_.push_back(std::move(block));
  if (!options_.is_stream) return;
  block_is_open_ = true;
  std::string text;
  JsonWriter json(text);
  json.begin_object().field("type", "content_block_start").field("index", blocks_.size() - 1).key("content_block");
  write_block(json, blocks_.back());
  json.end_object();
  append_named_event(out, "content_block_start", text);
}

void MessagesAnswer::close_block(std::string& out) {
  if (!block_is_open_) return;
  block_is_open_ = false;
  std::string text;
  JsonWriter json(text);
  if (blocks_.back().type == BlockType::thinking) {
    json.begin_object().field("type", "content_block_delta").field("index", blocks_.size() - 1).key("delta").begin_object();
    json.field("type", "signature_delta").field("signature", "").end_object().end_object();
    append_named_event(out, "content_block_delta", text);
    text.clear();
  }
  JsonWriter(text).begin_object().field("type", "content_block_stop").field("index", blocks_.size() - 1).end_object();
  append_named_event(out, "content_block_stop", text);
}

void MessagesAnswer::end(std::string& out) {
  std::string text;
  JsonWriter json(text);
  json.begin_object().field("type", "message_delta").key("delta").begin_object();
  write_stop(json);
  json.end_object();
  write_usage(json);
  json.end_object();
  append_named_event(out, "message_delta", text);
  append_named_event(out, "message_stop", R"({"type":"message_stop"})");
}

std::string MessagesAnswer::body() {
  if (blocks_.empty()) blocks_.push_back({.type = BlockType::text, .tool_index = 0, .id = {}, .name = {}, .text = {}});
  std::string text;
  JsonWriter json(text);
  write_message(json, true);
  return text;
}

void MessagesAnswer::fail(const ApiError& error, std::string& out) { append_named_event(out, "error", error_json(error, "")); }

std::string MessagesAnswer::ping() const { return "event: ping\ndata: {\"type\":\"ping\"}\n\n"; }

}  // namespace quern
