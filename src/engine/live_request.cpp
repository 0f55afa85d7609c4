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
    : sequence_(std::move(sequence)), end_ids_(std::move(end_ids)), tokenizer_(tokenizer), channel_(std::move(channel)) {
  if (const auto& reasoning = sequence_->params.reasoning) phase_ = reasoning->is_open ? Phase::reasoning : Phase::start;
  if (tokenizer != nullptr) start_text(phase_ != Phase::reasoning, only_control_tokens(*tokenizer, sequence_->tokens));
  finish_.timing.submitted = monotonic_seconds();
}

void LiveRequest::mark_scheduled(double time) {
  if (finish_.timing.scheduled != 0) return;
  finish_.timing.scheduled = time;
  channel_->mark_scheduled();
}

void LiveRequest::start_text(bool with_stops, bool starts_text) {
  const SamplingParams& params = sequence_->params;
  text_.emplace(*tokenizer_, with_stops ? params.stop : std::vector<std::string>(), params.skip_special_tokens, starts_text);
}

void LiveRequest::constrain(std::shared_ptr<TokenMasks> masks) {
  CHECK(tokenizer_ != nullptr, "masks without a tokenizer");
  masks_ = std::move(masks);
  mask_state_ = masks_->start();
}

void LiveRequest::append_mask(ForwardBatch& batch, size_t words) {
  if (!masks_ || phase_ == Phase::reasoning || is_forcing()) return;
  const std::span<const uint32_t> mask = masks_->mask(mask_state_);
  CHECK(mask.size() <= words, "{} words of a mask, a row has {}", mask.size(), words);
  const size_t begin = batch.allowed.size();
  batch.sample_rows.back().allowed_row = static_cast<int32_t>(begin / words);
  batch.allowed.resize(begin + words);
  std::ranges::copy(mask, batch.allowed.begin() + static_cast<std::ptrdiff_t>(begin));
  const auto allow = [&](TokenId id) { batch.allowed[begin + static_cast<size_t>(id) / 32] |= 1U << (id % 32); };
  if (masks_->may_end(mask_state_)) std::ranges::for_each(end_ids_, allow);
  if (phase_ == Phase::start) allow(sequence_->params.reasoning->open);
}

// Ends the answer where nothing can follow.
std::optional<FinishReason> LiveRequest::follow_masks(TokenId token, bool is_end) {
  if (!masks_ || is_end) return std::nullopt;
  mask_state_ = masks_->after(mask_state_, tokenizer_->bytes(token));
  if (mask_state_ == TokenMasks::kDead) return FinishReason::length;  // more than can be followed: the answer is cut here
  if (!masks_->may_end(mask_state_)) return std::nullopt;
  return masks_->may_go_on(mask_state_) ? std::nullopt : std::optional(FinishReason::stop);
}

// What closes the reasoning is being put in.
bool LiveRequest::is_forcing() const {
  const auto& reasoning = sequence_->params.reasoning;
  if (!reasoning) return false;
  if (next_closing_) return *next_closing_ < reasoning->closing.size();
  return phase_ == Phase::reasoning && reasoning->budget && reasoning_tokens_ >= *reasoning->budget && !reasoning->closing.empty();
}

// Once the budget of the reasoning is spent, what closes it goes before what was drawn.
TokenId LiveRequest::forced_or(TokenId drawn) {
  if (!is_forcing()) return drawn;
  if (!next_closing_) next_closing_ = 0;
  return sequence_->params.reasoning->closing[(*next_closing_)++];
}

void LiveRequest::follow_reasoning(TokenId token) {
  const auto& reasoning = sequence_->params.reasoning;
  if (!reasoning || phase_ == Phase::content) return;
  if (phase_ == Phase::start) {
    phase_ = token == reasoning->open ? Phase::reasoning : Phase::content;
    if (phase_ == Phase::reasoning && text_) start_text(false, false);
  } else if (token == reasoning->close) {
    phase_ = Phase::content;
  } else {
    ++reasoning_tokens_;
  }
}

// The text that `token` makes certain. An end token leaves none, unless the caller wants to see what ended the answer.
std::string LiveRequest::text_of(TokenId token, bool is_end) {
  const bool was_reasoning = phase_ == Phase::reasoning;
  follow_reasoning(token);
  if (!text_ || (is_end && !sequence_->params.include_stop_str_in_output)) return {};
  std::string text = text_->push(token);
  if (was_reasoning && phase_ == Phase::content) {  // from here on stop strings act
    text += text_->finish();
    start_text(true, false);
  }
  return text;
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

// The row may draw one token, the prompt's own: its logprob is the model's, whatever the mask.
void LiveRequest::append_prompt_row(ForwardBatch& batch, size_t position, size_t words) const {
  const auto token = static_cast<size_t>(sequence_->tokens[position]);
  SampleRow row{.temperature = 0, .position = static_cast<int32_t>(position)};
  row.num_logprobs = static_cast<int32_t>(*sequence_->params.prompt_logprobs);
  row.counts_begin = row.counts_end = static_cast<int32_t>(batch.counts.size());
  row.biases_begin = row.biases_end = static_cast<int32_t>(batch.biases.size());
  row.allowed_row = static_cast<int32_t>(batch.allowed.size() / words);
  batch.allowed.resize(batch.allowed.size() + words);
  batch.allowed[batch.allowed.size() - words + token / 32] |= 1U << (token % 32);
  batch.sample_rows.push_back(row);
}

std::optional<FinishReason> LiveRequest::tell_prompt(std::span<const SampledRow> rows, double time) {
  std::vector<OutputToken> tokens;
  for (const SampledRow& row : rows) {
    if (row.token_id < 0) {
      end(FinishReason::error, "numerical_error");
      return finish_.reason;
    }
    tokens.push_back({.id = row.token_id, .time = time, .logprob = row.logprob, .top = row.top});
  }
  sequence_->told_prompt_rows += rows.size();
  if (!tokens.empty()) channel_->deliver_prompt(std::move(tokens));
  return std::nullopt;
}

std::optional<FinishReason> LiveRequest::accept(const SampledRow& row, double time) {
  if (row.token_id < 0) {
    end(FinishReason::error, "numerical_error");
    return finish_.reason;
  }
  sequence_->told_prompt_rows = sequence_->prompt_tokens;
  if (finish_.timing.first_token == 0) finish_.timing.first_token = time;
  const bool is_forced = is_forcing();
  const TokenId token = forced_or(row.token_id);
  sequence_->tokens.push_back(token);
  sequence_->sampler.push(token);
  const bool is_end = std::ranges::binary_search(end_ids_, token);
  const bool was_reasoning = phase_ == Phase::reasoning;
  std::string text = text_of(token, is_end);
  std::optional<FinishReason> reason = reason_after(token);
  const bool is_content = !was_reasoning && phase_ == Phase::content && !is_forced;
  if (const auto complete = is_content ? follow_masks(token, is_end) : std::nullopt; complete && reason != FinishReason::stop)
    reason = complete;
  // A token that was put in was not drawn: its logprob is 0.
  const float logprob = token == row.token_id ? row.logprob : 0;
  OutputToken output{.id = token, .time = time, .logprob = logprob, .top = row.top};
  if (reason) {
    finish_.reason = *reason;
    finish(std::move(output), std::move(text));
  } else {
    channel_->deliver(std::move(output), std::move(text));
  }
  return reason;
}

void LiveRequest::end(FinishReason reason, std::string detail) {
  finish_.reason = reason;
  finish_.detail = std::move(detail);
  finish(std::nullopt, {});
}

// `last` and its text, where a token ended the answer.
void LiveRequest::finish(std::optional<OutputToken> last, std::string text) {
  if (text_) text += text_->finish();
  if (sequence_->params.include_stop_str_in_output) text += finish_.stop_string;
  finish_.usage = {.prompt_tokens = sequence_->prompt_tokens,
                   .output_tokens = sequence_->output_tokens(),
                   .cached_tokens = sequence_->cached_prompt_tokens};
  finish_.timing.finished = monotonic_seconds();
  channel_->end(std::move(last), std::move(text), finish_);
}

}  // namespace quern
