// The caller's handle of one request: read tokens and text, cancel. Any thread; one reader at a time. It may outlive its Engine, and a
// reader that stops reading never holds up the engine. Destroying it cancels what is unfinished.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace quern {

enum class FinishReason : uint8_t {
  stop,    // an end token or a stop string
  length,  // max_tokens, or the end of the context
  cancelled,
  error,  // Finish::detail says which: "numerical_error" or a message
};
const char* finish_reason_name(FinishReason reason);  // "stop", "length", "cancelled", "error"

struct OutputToken {
  TokenId id = 0;
  double time = 0;                                  // monotonic_seconds() when it was committed
  float logprob = 0;                                // of the model's own distribution; when asked for
  std::vector<std::pair<TokenId, float>> top = {};  // likeliest first; when asked for
};

struct Usage {
  size_t prompt_tokens = 0, output_tokens = 0;  // output tokens include the end token
  size_t cached_tokens = 0;                     // of the prompt, found in the prefix cache
};

// monotonic_seconds(); 0 = did not happen.
struct Timing {
  double submitted = 0, scheduled = 0, first_token = 0, finished = 0;
};

struct Finish {
  FinishReason reason = FinishReason::stop;
  std::optional<TokenId> stop_token;  // the end token that ended it
  std::string stop_string;            // the stop string that ended it
  std::string detail;                 // error: "numerical_error", or the failure's message
  Usage usage;
  Timing timing;
};

// What happened since the last read.
struct SessionOutput {
  std::vector<OutputToken> tokens;
  std::vector<OutputToken> prompt;  // with SamplingParams::prompt_logprobs: the prompt's tokens from its second on, before any of `tokens`
  std::string text;                 // whole characters; what may be the start of a stop string is still held back
  std::optional<Finish> finish;     // set once everything was handed over
};

class SessionChannel;

class Session {
 public:
  explicit Session(std::shared_ptr<SessionChannel> channel) : channel_(std::move(channel)) {}
  ~Session();
  Session(Session&&) noexcept = default;
  Session& operator=(Session&& other) noexcept;

  uint64_t id() const;
  // A step has worked on it: it waits in the queue no more.
  bool is_scheduled() const;
  // Waits for something new and takes it. After the end: an empty output with `finish` set, at once.
  SessionOutput read();
  // The same within `timeout`; nothing when nothing came.
  std::optional<SessionOutput> read_for(std::chrono::milliseconds timeout);
  // Everything that is not yet read, after waiting for the end.
  SessionOutput read_all();
  // Ends the request within one step. Idempotent; nothing happens after the end.
  void cancel();
  // Calls `listener` on the engine's thread whenever there is something to read; it must return soon and not call the session.
  void set_listener(std::function<void()> listener);

 private:
  std::shared_ptr<SessionChannel> channel_;
};

}  // namespace quern
