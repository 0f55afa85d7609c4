// What joins an Engine and a Session: tokens go one way, a wish to cancel the other. Shared by both; every member from any thread.
#pragma once
#include <atomic>
#include <condition_variable>
#include <mutex>

#include "engine/session.h"

namespace quern {

// Wakes the engine's thread. Outlives the engine, for sessions do.
class EngineSignal {
 public:
  void notify();
  // Waits until someone notified since the last wait.
  void wait();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_set_ = false;
};

class SessionChannel {
 public:
  SessionChannel(uint64_t id, std::shared_ptr<EngineSignal> engine) : id_(id), engine_(std::move(engine)) {}

  uint64_t id() const { return id_; }

  // Engine's side.
  void deliver(OutputToken token, const std::string& text);
  void deliver_prompt(std::vector<OutputToken> tokens);
  // With the token that ended it, if one did, so that a reader gets both at once.
  void end(std::optional<OutputToken> last, const std::string& text, Finish finish);
  bool is_cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  void mark_scheduled() { scheduled_.store(true, std::memory_order_relaxed); }

  // Session's side.
  std::optional<SessionOutput> take(std::optional<std::chrono::steady_clock::time_point> deadline);
  void cancel();
  bool is_scheduled() const { return scheduled_.load(std::memory_order_relaxed); }
  void set_listener(std::function<void()> listener);

 private:
  bool is_ready() const { return !pending_.tokens.empty() || !pending_.prompt.empty() || !pending_.text.empty() || pending_.finish; }
  void announce(std::unique_lock<std::mutex> lock);

  const uint64_t id_;
  const std::shared_ptr<EngineSignal> engine_;
  std::atomic<bool> cancelled_ = false, scheduled_ = false;
  std::mutex mutex_;
  std::condition_variable arrived_;
  SessionOutput pending_;  // finish stays once it is set
  std::function<void()> listener_;
};

}  // namespace quern
