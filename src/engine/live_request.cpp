#include "engine/live_request.h"

#include <algorithm>

#include "base/clock.h"

namespace quern {
namespace {

bool only_control_tokens(const Tokenizer& tokenizer, const std::vector<TokenId>& prompt) {
  return std::ranges::all_of(prompt, [&](TokenId id) { return tokenizer.is_control(id); });
}

}  // namespace

LiveRequest::LiveRequest(std::unique_ptr<Sequence> sequence, std::vector<TokenId> end_ids, const Tokenizer* tokenizer,
                         std::shared_ptr<SessionChannel> channel)
    : sequence_(std::move(sequence)), end_ids_(std::move(end_ids)), channel_(std::move(channel)) {
  const SamplingParams& params = sequence_->params;
  if (tokenizer != nullptr) {
    text_.emplace(*tokenizer, params.stop, params.skip_special_tokens, only_control_tokens(*tokenizer, sequence_->tokens));
  }
  finish_.timing.submitted = monotonic_seconds();
}

void LiveRequest::mark_scheduled(double time) {
  if (finish_.timing.scheduled != 0) return;
  finish_.timing.scheduled = time;
  channel_->mark_scheduled();
}

// The text that `token` makes certain. An end token leaves none, unless the caller wants to see what ended the answer.
std::string LiveRequest::text_of(TokenId token, bool is_end) {
  if (!text_ || (is_end && !sequence_->params.include_stop_str_in_output)) return {};
  return text_->push(token);
}

std::optional<FinishReason> LiveRequest::reason_after(TokenId token) {
  if (std::ranges::binary_search(end_ids_, token)) {
    finish_.stop_token = token;
    return FinishReason::stop;
  }
  if (text_ && text_->stop_found() != nullptr) {
    finish_.stop_string = *text_->stop_found();
    return FinishReason::stop;
  }
  if (sequence_->output_tokens() >= sequence_->max_output_tokens) return FinishReason::length;
  return std::nullopt;
}

std::optional<FinishReason> LiveRequest::accept(const SampledRow& row, double time) {
  if (row.token_id < 0) {
    end(FinishReason::error, "numerical_error");
    return finish_.reason;
  }
  if (finish_.timing.first_token == 0) finish_.timing.first_token = time;
  sequence_->tokens.push_back(row.token_id);
  sequence_->sampler.push(row.token_id);
  const bool is_end = std::ranges::binary_search(end_ids_, row.token_id);
  std::string text = text_of(row.token_id, is_end);
  const std::optional<FinishReason> reason = reason_after(row.token_id);
  channel_->deliver({.id = row.token_id, .time = time, .logprob = row.logprob, .top = row.top}, std::move(text));
  if (!reason) return std::nullopt;
  finish_.reason = *reason;
  finish();
  return reason;
}

void LiveRequest::end(FinishReason reason, std::string detail) {
  finish_.reason = reason;
  finish_.detail = std::move(detail);
  finish();
}

void LiveRequest::finish() {
  std::string text = text_ ? text_->finish() : std::string();
  if (sequence_->params.include_stop_str_in_output) text += finish_.stop_string;
  finish_.usage = {.prompt_tokens = sequence_->prompt_tokens,
                   .output_tokens = sequence_->output_tokens(),
                   .cached_tokens = sequence_->cached_prompt_tokens};
  finish_.timing.finished = monotonic_seconds();
  channel_->end(std::move(text), finish_);
}

}  // namespace quern
