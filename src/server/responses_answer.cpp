#include "server/responses_answer.h"

#include <fmt/format.h>

#include "server/random_id.h"

namespace quern {

using Kind = AnswerPart::Kind;

ResponsesAnswer::ResponsesAnswer(const ServedModel& model, ResponsesAnswerOptions options)
    : options_(std::move(options)),
      think_(model.tokenizer().find_special("<think>")),
      think_end_(model.tokenizer().find_special("</think>")),
      parser_(options_.parser),
      is_counting_reasoning_(options_.parser.starts_in_reasoning) {
  totals_.prompt_tokens = options_.prompt_tokens;
}

void ResponsesAnswer::append(std::string& out, const char* type, const std::string& members) {
  out += fmt::format("event: {0}\ndata: {{\"type\":\"{0}\",\"sequence_number\":{1}{2}}}\n\n", type, sequence_number_++, members);
}

// {"type":"output_text",...} of a message, {"type":"reasoning_text",...} of reasoning.
std::string ResponsesAnswer::part_json(const Item& item, const std::string& text) const {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  if (item.type == ItemType::reasoning) {
    json.field("type", "reasoning_text").field("text", text);
  } else {
    json.field("type", "output_text").field("text", text).key("annotations").begin_array().end_array();
    json.key("logprobs").begin_array().end_array();
  }
  json.end_object();
  return out;
}

void ResponsesAnswer::write_item(JsonWriter& json, const Item& item, const char* status, bool is_whole) const {
  json.begin_object().field("id", item.id);
  if (item.type == ItemType::call) {
    json.field("type", "function_call").field("status", status).field("call_id", item.call_id).field("name", item.name);
    json.field("arguments", is_whole ? item.text : std::string()).end_object();
    return;
  }
  json.field("type", item.type == ItemType::reasoning ? "reasoning" : "message").field("status", status);
  if (item.type == ItemType::message) json.field("role", "assistant");
  if (item.type == ItemType::reasoning) json.key("summary").begin_array().end_array();
  json.key("content").begin_array();
  if (is_whole) json.raw(part_json(item, item.text));
  json.end_array().end_object();
}

std::string ResponsesAnswer::item_json(const Item& item, const char* status, bool is_whole) const {
  std::string out;
  JsonWriter json(out);
  write_item(json, item, status, is_whole);
  return out;
}

std::string ResponsesAnswer::response_json(const char* status, const ApiError* error) const {
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("id", options_.id).field("object", "response").field("created_at", options_.created).field("status", status);
  if (error != nullptr) {
    json.key("error").begin_object().field("code", "server_error").field("message", error->message).end_object();
  } else {
    json.null_field("error");
  }
  const bool is_cut = finish_ && finish_->reason == FinishReason::length;
  if (is_cut) {
    json.key("incomplete_details").begin_object().field("reason", "max_output_tokens").end_object();
  } else {
    json.null_field("incomplete_details");
  }
  json.field("model", options_.model).key("output").begin_array();
  if (finish_) {
    for (const Item& item : items_) write_item(json, item, "completed", true);
  }
  json.end_array();
  out += options_.echoed;
  if (!finish_) {
    json.null_field("usage");
  } else {
    json.key("usage").begin_object().field("input_tokens", totals_.prompt_tokens);
    json.key("input_tokens_details").begin_object().field("cached_tokens", totals_.cached_tokens).end_object();
    json.field("output_tokens", totals_.output_tokens);
    json.key("output_tokens_details").begin_object().field("reasoning_tokens", totals_.reasoning_tokens).end_object();
    json.field("total_tokens", totals_.prompt_tokens + totals_.output_tokens).end_object();
  }
  json.end_object();
  return out;
}

void ResponsesAnswer::begin(std::string& out) {
  const std::string response = ",\"response\":" + response_json("in_progress", nullptr);
  append(out, "response.created", response);
  append(out, "response.in_progress", response);
}

void ResponsesAnswer::add(size_t, SessionOutput output, std::string& out) {
  if (finish_) return;
  for (const OutputToken& token : output.tokens) {
    if (options_.parser.parses_reasoning && token.id == think_) is_counting_reasoning_ = true;
    totals_.reasoning_tokens += is_counting_reasoning_ ? 1 : 0;
    if (token.id == think_end_) is_counting_reasoning_ = false;
  }
  totals_.output_tokens += output.tokens.size();
  std::vector<AnswerPart> parts;
  parser_.push(output.text, parts);
  if (output.finish) {
    parser_.finish(parts);
    totals_.cached_tokens = output.finish->usage.cached_tokens;
  }
  for (const AnswerPart& part : parts) take(part, out);
  if (!output.finish) return;
  close_item(out);
  finish_ = output.finish;
}

// "output_index" and "item_id" of the last item, with the index of its content where it has some.
std::string ResponsesAnswer::place(const Item& item, bool with_content) const {
  return fmt::format(",\"item_id\":\"{}\",\"output_index\":{}{}", item.id, items_.size() - 1,
                     with_content && item.type != ItemType::call ? ",\"content_index\":0" : "");
}

void ResponsesAnswer::take(const AnswerPart& part, std::string& out) {
  const ItemType type = part.kind == Kind::reasoning ? ItemType::reasoning
                        : part.kind == Kind::content ? ItemType::message
                                                     : ItemType::call;
  const bool goes_on = item_is_open_ && part.kind != Kind::tool_name && items_.back().type == type;
  if (!goes_on) open_item(part, out);
  if (part.kind == Kind::tool_name) return;
  Item& item = items_.back();
  item.text += part.text;
  if (!options_.is_stream) return;
  const char* event = type == ItemType::reasoning ? "response.reasoning_text.delta"
                      : type == ItemType::message ? "response.output_text.delta"
                                                  : "response.function_call_arguments.delta";
  append(out, event, place(item, true) + ",\"delta\":" + json_string(part.text) + (type == ItemType::message ? ",\"logprobs\":[]" : ""));
}

void ResponsesAnswer::open_item(const AnswerPart& part, std::string& out) {
  close_item(out);
  const std::string id = random_id();
  Item item{.type = ItemType::message, .tool_index = part.tool_index, .id = "msg_" + id, .call_id = {}, .name = {}, .text = {}};
  if (part.kind == Kind::reasoning) item.type = ItemType::reasoning, item.id = "rs_" + id;
  if (part.kind == Kind::tool_name) {
    item.type = ItemType::call, item.id = "fc_" + id;
    item.call_id = "call_" + id.substr(0, 24);
    item.name = part.text;
  }
  items_.push_back(std::move(item));
  item_is_open_ = true;
  if (!options_.is_stream) return;
  const Item& opened = items_.back();
  append(out, "response.output_item.added",
         fmt::format(",\"output_index\":{},\"item\":{}", items_.size() - 1, item_json(opened, "in_progress", false)));
  if (opened.type == ItemType::call) return;
  append(out, "response.content_part.added", place(opened, true) + ",\"part\":" + part_json(opened, ""));
}

void ResponsesAnswer::close_item(std::string& out) {
  if (!item_is_open_) return;
  item_is_open_ = false;
  if (!options_.is_stream) return;
  const Item& item = items_.back();
  if (item.type == ItemType::call) {
    append(out, "response.function_call_arguments.done",
           place(item, false) + ",\"name\":" + json_string(item.name) + ",\"arguments\":" + json_string(item.text));
  } else {
    const bool is_reasoning = item.type == ItemType::reasoning;
    append(out, is_reasoning ? "response.reasoning_text.done" : "response.output_text.done",
           place(item, true) + ",\"text\":" + json_string(item.text) + (is_reasoning ? "" : ",\"logprobs\":[]"));
    append(out, "response.content_part.done", place(item, true) + ",\"part\":" + part_json(item, item.text));
  }
  append(out, "response.output_item.done",
         fmt::format(",\"output_index\":{},\"item\":{}", items_.size() - 1, item_json(item, "completed", true)));
}

void ResponsesAnswer::end(std::string& out) {
  const bool is_cut = finish_->reason == FinishReason::length;
  append(out, is_cut ? "response.incomplete" : "response.completed",
         ",\"response\":" + response_json(is_cut ? "incomplete" : "completed", nullptr));
}

std::string ResponsesAnswer::body() { return response_json(finish_->reason == FinishReason::length ? "incomplete" : "completed", nullptr); }

void ResponsesAnswer::fail(const ApiError& error, std::string& out) {
  append(out, "response.failed", ",\"response\":" + response_json("failed", &error));
}

}  // namespace quern
