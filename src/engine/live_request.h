// A request from the moment it is accepted to its last token: its Sequence, where its output goes, how its text is made, when things
// happened. Owned by Engine, used on the engine thread only once it has left the inbox.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/sequence.h"
#include "engine/session_channel.h"
#include "text/text_stream.h"
#include "text/token_masks.h"

namespace quern {

class LiveRequest {
 public:
  // `tokenizer` may be null: no text, no stop strings. `end_ids` are sorted.
  LiveRequest(std::unique_ptr<Sequence> sequence, std::vector<TokenId> end_ids, const Tokenizer* tokenizer,
              std::shared_ptr<SessionChannel> channel);

  // The answer, from the end of its reasoning on, is to fit `masks`.
  void constrain(std::shared_ptr<TokenMasks> masks);
  // Gives the row that was appended last its mask, when the request has one. `words` of it in a row.
  void append_mask(ForwardBatch& batch, size_t words);

  Sequence& sequence() { return *sequence_; }
  bool is_cancelled() const { return channel_->is_cancelled(); }
  void mark_scheduled(double time);

  // Appends the row that tells the logprob of the prompt's token at `position`. `words` of masks in a row.
  void append_prompt_row(ForwardBatch& batch, size_t position, size_t words) const;
  // Hands on what became of such rows. Returns whether the request has ended with it, since a logit was not finite.
  std::optional<FinishReason> tell_prompt(std::span<const SampledRow> rows, double time);
  // Takes in one sampled token. Returns whether the request has ended with it; the session knows then.
  std::optional<FinishReason> accept(const SampledRow& row, double time);
  // Ends it without a token.
  void end(FinishReason reason, std::string detail);

 private:
  enum class Phase : uint8_t { start, reasoning, content };

  bool is_forcing() const;
  TokenId forced_or(TokenId drawn);
  std::optional<FinishReason> follow_masks(TokenId token, bool is_end);
  void follow_reasoning(TokenId token);
  void start_text(bool with_stops, bool starts_text);
  std::optional<FinishReason> reason_after(TokenId token);
  std::string text_of(TokenId token, bool is_end);
  void finish(std::optional<OutputToken> last, std::string text);

  std::unique_ptr<Sequence> sequence_;
  std::vector<TokenId> end_ids_;
  const Tokenizer* tokenizer_;
  std::optional<TextStream> text_;
  Phase phase_ = Phase::content;
  size_t reasoning_tokens_ = 0;
  std::optional<size_t> next_closing_;  // of Reasoning::closing, once the budget is spent
  std::shared_ptr<TokenMasks> masks_;
  TokenMasks::State mask_state_ = 0;
  std::shared_ptr<SessionChannel> channel_;
  Finish finish_;
};

}  // namespace quern
