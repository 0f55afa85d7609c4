#include "server/chat_answer.h"

#include <algorithm>
#include <iterator>

#include "server/random_id.h"

namespace quern {

using Kind = AnswerPart::Kind;

std::string new_call_id() { return "call_" + random_id().substr(0, 24); }

ChatAnswer::ChatAnswer(const ServedModel& model, ChatAnswerOptions options)
    : tokenizer_(&model.tokenizer()),
      options_(std::move(options)),
      think_(tokenizer_->find_special("<think>")),
      think_end_(tokenizer_->find_special("</think>")) {
  totals_.prompt_tokens = options_.prompt_tokens;
  for (size_t i = 0; i < options_.num_choices; ++i) {
    choices_.push_back({.parser = AnswerParser(options_.parser), .is_counting_reasoning = options_.parser.starts_in_reasoning});
  }
}

void ChatAnswer::begin(std::string& out) {
  for (size_t index = 0; index < choices_.size(); ++index) write_chunk(index, nullptr, nullptr, nullptr, out);
}

void ChatAnswer::count(Choice& choice, const SessionOutput& output) {
  for (const OutputToken& token : output.tokens) {
    if (options_.parser.parses_reasoning && token.id == think_) choice.is_counting_reasoning = true;
    totals_.reasoning_tokens += choice.is_counting_reasoning ? 1 : 0;
    if (token.id == think_end_) choice.is_counting_reasoning = false;
  }
  totals_.output_tokens += output.tokens.size();
}

void ChatAnswer::add(size_t index, SessionOutput output, std::string& out) {
  Choice& choice = choices_[index];
  if (choice.finish) return;
  count(choice, output);
  std::ranges::move(output.prompt, std::back_inserter(prompt_));
  if (index == 0 && output.finish) totals_.cached_tokens = output.finish->usage.cached_tokens;
  if (!options_.shows_end_token) drop_end_token(output);
  if (!options_.logprobs) output.tokens.clear();

  std::vector<AnswerPart> parts;
  choice.parser.push(output.text, parts);
  if (output.finish) choice.parser.finish(parts);
  if (options_.is_stream) {
    write_parts(index, parts, output.tokens, out);
  } else {
    choice.logprobs.insert(choice.logprobs.end(), output.tokens.begin(), output.tokens.end());
    keep(choice, parts);
  }
  if (!output.finish) return;
  choice.finish = output.finish;
  if (options_.is_stream) write_chunk(index, nullptr, nullptr, &*choice.finish, out);
}

void ChatAnswer::keep(Choice& choice, const std::vector<AnswerPart>& parts) {
  for (const AnswerPart& part : parts) {
    switch (part.kind) {
      case Kind::reasoning: choice.reasoning += part.text; break;
      case Kind::content: choice.content += part.text; break;
      case Kind::tool_name: choice.calls.push_back({new_call_id(), part.text, {}}); break;
      case Kind::tool_arguments: choice.calls[part.tool_index].arguments += part.text; break;
    }
  }
}

void ChatAnswer::write_parts(size_t index, const std::vector<AnswerPart>& parts, const std::vector<OutputToken>& tokens, std::string& out) {
  for (size_t i = 0; i < parts.size(); ++i) write_chunk(index, &parts[i], i == 0 ? &tokens : nullptr, nullptr, out);
  if (parts.empty() && !tokens.empty()) {  // their text is still held back
    const AnswerPart nothing{Kind::content, "", 0};
    write_chunk(index, &nothing, &tokens, nullptr, out);
  }
}

void ChatAnswer::write_delta(JsonWriter& json, Choice& choice, const AnswerPart& part) {
  switch (part.kind) {
    case Kind::reasoning: json.field("reasoning", part.text).field("reasoning_content", part.text); return;
    case Kind::content: json.field("content", part.text); return;
    case Kind::tool_name: {
      choice.calls.push_back({new_call_id(), part.text, {}});
      json.key("tool_calls").begin_array().begin_object().field("index", part.tool_index).field("id", choice.calls.back().id);
      json.field("type", "function").key("function").begin_object().field("name", part.text).field("arguments", "").end_object();
      json.end_object().end_array();
      return;
    }
    case Kind::tool_arguments:
      json.key("tool_calls").begin_array().begin_object().field("index", part.tool_index);
      json.key("function").begin_object().field("arguments", part.text).end_object().end_object().end_array();
  }
}

void ChatAnswer::write_logprobs(JsonWriter& json, const std::vector<OutputToken>& tokens) {
  json.key("logprobs").begin_object().key("content").begin_array();
  for (const OutputToken& token : tokens) write_chat_logprob(json, *tokenizer_, token, *options_.logprobs);
  json.end_array().null_field("refusal").end_object();
}

// Without `part` and `finish`: the chunk that names the role.
void ChatAnswer::write_chunk(size_t index, const AnswerPart* part, const std::vector<OutputToken>* tokens, const Finish* finish,
                             std::string& out) {
  std::string text;
  JsonWriter json(text);
  write_head(json, options_.head, options_.head.chunk_object);
  json.key("choices").begin_array().begin_object().field("index", index).key("delta").begin_object();
  if (part != nullptr) {
    write_delta(json, choices_[index], *part);
  } else if (finish == nullptr) {
    json.field("role", "assistant").field("content", "");
  }
  json.end_object();
  if (tokens != nullptr && !tokens->empty()) {
    write_logprobs(json, *tokens);
  } else {
    json.null_field("logprobs");
  }
  if (finish != nullptr) {
    write_finish(json, *finish, choices_[index].parser.num_tool_calls() > 0, options_.stop_token_ids);
  } else {
    json.null_field("finish_reason");
  }
  json.end_object().end_array();
  write_chunk_usage(json, options_, totals_);
  json.end_object();
  append_event(out, text);
}

void ChatAnswer::end(std::string& out) { append_stream_end(out, options_, totals_); }

std::string ChatAnswer::body() {
  std::string text;
  JsonWriter json(text);
  write_head(json, options_.head, options_.head.object);
  json.key("choices").begin_array();
  for (size_t index = 0; index < choices_.size(); ++index) {
    const Choice& choice = choices_[index];
    json.begin_object().field("index", index).key("message").begin_object().field("role", "assistant");
    choice.content.empty() && !choice.calls.empty() ? json.null_field("content") : json.field("content", choice.content);
    json.null_field("refusal");
    if (!choice.reasoning.empty()) json.field("reasoning", choice.reasoning).field("reasoning_content", choice.reasoning);
    if (!choice.calls.empty()) {
      json.key("tool_calls").begin_array();
      for (const ToolCallState& call : choice.calls) {
        json.begin_object().field("id", call.id).field("type", "function").key("function").begin_object();
        json.field("name", call.name).field("arguments", call.arguments).end_object().end_object();
      }
      json.end_array();
    }
    json.end_object();
    options_.logprobs ? write_logprobs(json, choice.logprobs) : void(json.null_field("logprobs"));
    write_finish(json, *choice.finish, !choice.calls.empty(), options_.stop_token_ids);
    json.end_object();
  }
  json.end_array();
  if (options_.prompt_logprobs) write_prompt_logprobs(json, *tokenizer_, prompt_, *options_.prompt_logprobs);
  write_usage(json, totals_);
  json.end_object();
  return text;
}

void ChatAnswer::fail(const ApiError& error, std::string& out) { append_event(out, error.body()); }

}  // namespace quern
