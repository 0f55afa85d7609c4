// One accepted request for tokens, from its plan to the last byte of its answer: its runs in the engine, what they produce, its time
// limits, and its client, who may leave at any moment. Event loop's thread only.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "server/exchange.h"
#include "server/generation_plan.h"
#include "server/metrics.h"

namespace quern {

// What all generations of a server share; outlives them.
struct GenerationHost {
  Engine* engine = nullptr;
  ServerMetrics* metrics = nullptr;
  std::function<void(std::function<void()>)> post;  // to the event loop; from any thread
  double queue_timeout = 60, request_timeout = 600, ping_seconds = 15;
  size_t max_unsent_bytes = size_t{256} << 10;  // of a stream: beyond, tokens stay in the engine's session
  std::function<void(const Exchange& exchange, int status, const TokenTotals& totals)> on_end;  // of each that was started
};

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(std::shared_ptr<Exchange> exchange, GenerationPlan plan, std::vector<HttpHeader> headers, GenerationHost& host);

  // Hands the runs to the engine. Throws what Engine::submit throws before anything was accepted.
  void start();
  void tick(double now);
  // Ends it with an error: a reply, or a stream's last event.
  void fail(const ApiError& error);
  bool is_over() const { return is_over_; }
  // Runs that the engine has not begun.
  size_t num_waiting() const;

 private:
  struct Mailbox;
  struct Run {
    std::optional<Session> session;
    bool has_output = false, is_finished = false;
    double last_token_time = 0;
  };

  void submit(size_t run);
  void submit_siblings(size_t run);
  void collect();
  void take(size_t index, SessionOutput output, std::string& out);
  void finish();
  void client_left();
  void end(uint64_t ServerMetrics::*count, int status);

  std::shared_ptr<Exchange> exchange_;
  GenerationPlan plan_;
  std::vector<HttpHeader> headers_;
  GenerationHost* host_;
  std::shared_ptr<Mailbox> mailbox_;
  std::vector<Run> runs_;
  double start_time_, last_send_;
  bool is_over_ = false;
};

}  // namespace quern
