// How the results of one request become JSON: one class a route. It gets what each choice produced, in order, and writes either events of
// a stream as they come or one body at the end. Made on a worker with the request, then used on the event loop's thread only.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "engine/session.h"
#include "server/api_error.h"

namespace quern {

struct TokenTotals {
  size_t prompt_tokens = 0, output_tokens = 0, cached_tokens = 0, reasoning_tokens = 0;
};

class Answer {
 public:
  virtual ~Answer() = default;

  // Stream: what comes before the first token.
  virtual void begin(std::string& out) = 0;
  // What choice `index` produced since; with `finish` set it has ended. Streams append events to `out`.
  virtual void add(size_t index, SessionOutput output, std::string& out) = 0;
  // Stream: after the last choice has ended.
  virtual void end(std::string& out) = 0;
  // The whole body, after the last choice has ended.
  virtual std::string body() = 0;
  // Stream: the last event of one that failed.
  virtual void fail(const ApiError& error, std::string& out) = 0;
  virtual std::string ping() const { return ": ping\n\n"; }
  virtual HttpReply error_reply(const ApiError& error) const { return error.reply(); }

  const TokenTotals& totals() const { return totals_; }

 protected:
  TokenTotals totals_;
};

// "data: <json>\n\n"
void append_event(std::string& out, std::string_view json);

}  // namespace quern
