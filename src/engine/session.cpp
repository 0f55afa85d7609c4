#include "engine/session.h"

#include <algorithm>
#include <iterator>

#include "engine/session_channel.h"

namespace quern {

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop: return "stop";
    case FinishReason::length: return "length";
    case FinishReason::cancelled: return "cancelled";
    case FinishReason::error: break;
  }
  return "error";
}

void EngineSignal::notify() {
  {
    const std::lock_guard lock(mutex_);
    is_set_ = true;
  }
  changed_.notify_one();
}

void EngineSignal::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return is_set_; });
  is_set_ = false;
}

// The listener runs without the lock, so that it may hand the news on as it likes.
void SessionChannel::announce(std::unique_lock<std::mutex> lock) {
  const std::function<void()> listener = listener_;
  lock.unlock();
  arrived_.notify_all();
  if (listener) listener();
}

void SessionChannel::deliver(OutputToken token, const std::string& text) {
  std::unique_lock lock(mutex_);
  pending_.tokens.push_back(std::move(token));
  pending_.text += text;
  announce(std::move(lock));
}

void SessionChannel::deliver_prompt(std::vector<OutputToken> tokens) {
  std::unique_lock lock(mutex_);
  std::ranges::move(tokens, std::back_inserter(pending_.prompt));
  announce(std::move(lock));
}

void SessionChannel::end(std::optional<OutputToken> last, const std::string& text, Finish finish) {
  std::unique_lock lock(mutex_);
  if (last) pending_.tokens.push_back(*std::move(last));
  pending_.text += text;
  pending_.finish = std::move(finish);
  announce(std::move(lock));
}

std::optional<SessionOutput> SessionChannel::take(std::optional<std::chrono::steady_clock::time_point> deadline) {
  std::unique_lock lock(mutex_);
  const auto ready = [this] { return is_ready(); };
  if (!deadline) {
    arrived_.wait(lock, ready);
  } else if (!arrived_.wait_until(lock, *deadline, ready)) {
    return std::nullopt;
  }
  SessionOutput output = std::move(pending_);
  pending_ = {};
  pending_.finish = output.finish;
  return output;
}

void SessionChannel::cancel() {
  cancelled_.store(true, std::memory_order_release);
  engine_->notify();
}

void SessionChannel::set_listener(std::function<void()> listener) {
  const std::lock_guard lock(mutex_);
  listener_ = std::move(listener);
}

Session::~Session() {
  if (channel_ == nullptr) return;
  channel_->set_listener({});
  channel_->cancel();
}

Session& Session::operator=(Session&& other) noexcept {
  std::swap(channel_, other.channel_);
  return *this;
}

uint64_t Session::id() const { return channel_->id(); }
bool Session::is_scheduled() const { return channel_->is_scheduled(); }
SessionOutput Session::read() { return *channel_->take(std::nullopt); }
std::optional<SessionOutput> Session::read_for(std::chrono::milliseconds timeout) {
  return channel_->take(std::chrono::steady_clock::now() + timeout);
}

SessionOutput Session::read_all() {
  SessionOutput all;
  while (!all.finish) {
    SessionOutput more = read();
    all.tokens.insert(all.tokens.end(), std::make_move_iterator(more.tokens.begin()), std::make_move_iterator(more.tokens.end()));
    std::ranges::move(more.prompt, std::back_inserter(all.prompt));
    all.text += more.text;
    all.finish = std::move(more.finish);
  }
  return all;
}

void Session::cancel() { channel_->cancel(); }
void Session::set_listener(std::function<void()> listener) { channel_->set_listener(std::move(listener)); }

}  // namespace quern
