// A request from the moment it is accepted to its last token: its Sequence, where its output goes, how its text is made, when things
// happened. Owned by Engine, used on the engine thread only once it has left the inbox.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "engine/sequence.h"
#include "engine/session_channel.h"
#include "text/text_stream.h"

namespace quern {

class LiveRequest {
 public:
  // `tokenizer` may be null: no text, no stop strings. `end_ids` are sorted.
  LiveRequest(std::unique_ptr<Sequence> sequence, std::vector<TokenId> end_ids, const Tokenizer* tokenizer,
              std::shared_ptr<SessionChannel> channel);

  Sequence& sequence() { return *sequence_; }
  bool is_cancelled() const { return channel_->is_cancelled(); }
  void mark_scheduled(double time);

  // Takes in one sampled token. Returns whether the request has ended with it; the session knows then.
  std::optional<FinishReason> accept(const SampledRow& row, double time);
  // Ends it without a token.
  void end(FinishReason reason, std::string detail);

 private:
  std::optional<FinishReason> reason_after(TokenId token);
  std::string text_of(TokenId token, bool is_end);
  void finish();

  std::unique_ptr<Sequence> sequence_;
  std::vector<TokenId> end_ids_;
  std::optional<TextStream> text_;
  std::shared_ptr<SessionChannel> channel_;
  Finish finish_;
};

}  // namespace quern
