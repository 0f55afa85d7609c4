#include "server/answer_text.h"

#include <algorithm>
#include <cmath>

#include "base/utf8.h"

namespace quern {
namespace {

void write_bytes(JsonWriter& json, std::string_view bytes) {
  json.key("bytes").begin_array();
  for (const char byte : bytes) json.integer(static_cast<unsigned char>(byte));
  json.end_array();
}

void write_token(JsonWriter& json, const Tokenizer& tokenizer, TokenId id, float logprob) {
  json.field("token", token_text(tokenizer, id)).field("logprob", shown_logprob(logprob));
  write_bytes(json, tokenizer.bytes(id));
}

}  // namespace

void append_event(std::string& out, std::string_view json) {
  out += "data: ";
  out += json;
  out += "\n\n";
}

void write_head(JsonWriter& json, const AnswerHead& head, const std::string& object) {
  json.begin_object().field("id", head.id).field("object", object).field("created", head.created).field("model", head.model);
  json.field("system_fingerprint", head.fingerprint);
}

void write_usage(JsonWriter& json, const TokenTotals& totals) {
  json.key("usage").begin_object();
  json.field("prompt_tokens", totals.prompt_tokens).field("completion_tokens", totals.output_tokens);
  json.field("total_tokens", totals.prompt_tokens + totals.output_tokens);
  json.key("prompt_tokens_details").begin_object().field("cached_tokens", totals.cached_tokens).end_object();
  json.key("completion_tokens_details").begin_object().field("reasoning_tokens", totals.reasoning_tokens).end_object();
  json.end_object();
}

void write_finish(JsonWriter& json, const Finish& finish, bool called_tools, const std::vector<int64_t>& stop_token_ids) {
  const bool is_stop = finish.reason == FinishReason::stop;
  json.field("finish_reason", is_stop && called_tools ? "tool_calls" : is_stop ? "stop" : "length");
  const bool is_asked_for = finish.stop_token && std::ranges::find(stop_token_ids, *finish.stop_token) != stop_token_ids.end();
  if (!finish.stop_string.empty()) {
    json.field("stop_reason", finish.stop_string);
  } else if (is_asked_for) {
    json.field("stop_reason", int64_t{*finish.stop_token});
  } else {
    json.null_field("stop_reason");
  }
}

void write_chunk_usage(JsonWriter& json, const ChoiceOptions& options, const TokenTotals& totals) {
  if (options.continuous_usage) {
    write_usage(json, totals);
  } else if (options.include_usage) {
    json.null_field("usage");
  }
}

void append_stream_end(std::string& out, const ChoiceOptions& options, const TokenTotals& totals) {
  if (options.include_usage) {
    std::string text;
    JsonWriter json(text);
    write_head(json, options.head, options.head.chunk_object);
    json.key("choices").begin_array().end_array();
    write_usage(json, totals);
    json.end_object();
    append_event(out, text);
  }
  append_event(out, "[DONE]");
}

void drop_end_token(SessionOutput& output) {
  const bool has_end =
      output.finish && output.finish->stop_token && !output.tokens.empty() && output.tokens.back().id == output.finish->stop_token;
  if (has_end) output.tokens.pop_back();
}

void write_prompt_logprobs(JsonWriter& json, const Tokenizer& tokenizer, const std::vector<OutputToken>& prompt, size_t num_top) {
  json.key("prompt_logprobs").begin_array().null();
  for (const OutputToken& token : prompt) {
    json.begin_object();
    const auto write = [&](TokenId id, float logprob, std::optional<size_t> rank) {
      json.key(fmt::format("{}", id)).begin_object().field("logprob", shown_logprob(logprob));
      rank ? json.field("rank", *rank) : json.null_field("rank");
      json.field("decoded_token", token_text(tokenizer, id)).end_object();
    };
    const auto own = std::ranges::find(token.top, token.id, &std::pair<TokenId, float>::first);
    const auto rank = static_cast<size_t>(own - token.top.begin()) + 1;
    write(token.id, token.logprob, own == token.top.end() ? std::nullopt : std::optional(rank));
    for (size_t i = 0; i < std::min(num_top, token.top.size()); ++i) {
      if (token.top[i].first != token.id) write(token.top[i].first, token.top[i].second, i + 1);
    }
    json.end_object();
  }
  json.end_array();
}

double shown_logprob(float logprob) { return std::isfinite(logprob) ? static_cast<double>(logprob) : -9999.0; }

std::string token_text(const Tokenizer& tokenizer, TokenId id) { return utf8_repaired(tokenizer.bytes(id)); }

void write_chat_logprob(JsonWriter& json, const Tokenizer& tokenizer, const OutputToken& token, size_t num_top) {
  json.begin_object();
  write_token(json, tokenizer, token.id, token.logprob);
  json.key("top_logprobs").begin_array();
  for (size_t i = 0; i < std::min(num_top, token.top.size()); ++i) {
    json.begin_object();
    write_token(json, tokenizer, token.top[i].first, token.top[i].second);
    json.end_object();
  }
  json.end_array().end_object();
}

}  // namespace quern
