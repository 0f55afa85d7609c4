#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace quern {
namespace {

constexpr double kSpinSeconds = 50e-6;  // longer than the gaps between the operations of a step, far shorter than a time slice
constexpr size_t kLine = 64;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns once `value` differs from `old`: spins first, then sleeps.
uint32_t wait_for_change(const std::atomic<uint32_t>& value, uint32_t old) {
  for (double deadline = 0;;) {
    for (int i = 0; i < 32; ++i) {
      if (const uint32_t now = value.load(std::memory_order_acquire); now != old) return now;
      pause();
    }
    const double now = monotonic_seconds();
    if (deadline == 0) deadline = now + kSpinSeconds;
    if (now >= deadline) break;
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

struct ThreadPool::State {
  // What the caller and the workers of a round agree on. A worker counts itself in before it begins and out when it has ended; in a round
  // that needs everyone all are counted from the start. A closed round takes nobody in: on a busy machine a worker that has no core yet is
  // not waited for, its parts are taken by the others.
  static constexpr uint32_t kCount = 0x3fff, kEveryone = 0x4000, kClosed = 0x8000, kRoundShift = 16;
  alignas(kLine) std::atomic<uint32_t> round{0};       // one more each run; workers wait for it
  alignas(kLine) std::atomic<uint32_t> gate{kClosed};  // low half of the round, closed, everyone, workers inside; the caller waits for it
  alignas(kLine) const std::function<void(size_t)>* work = nullptr;  // written before the gate opens, read inside
  std::atomic<bool> stopping{false}, failed{false};
  std::exception_ptr error;  // of the thread that set `failed`
  bool running = false;      // caller only
  std::vector<std::thread> workers;
  struct alignas(kLine) Share {
    std::atomic<size_t> next{0};
  };
  std::vector<Share> shares;  // [num_threads], of the running parallel_for

  void call(size_t thread_index) noexcept {
    try {
      (*work)(thread_index);
    } catch (...) {
      if (!failed.exchange(true, std::memory_order_acq_rel)) error = std::current_exception();
    }
  }

  bool enter(uint32_t seen) {
    uint32_t now = gate.load(std::memory_order_acquire);
    for (;;) {
      if (now >> kRoundShift != (seen & 0xffff) || (now & kClosed) != 0) return false;
      if ((now & kEveryone) != 0) return true;
      if (gate.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel, std::memory_order_acquire)) return true;
    }
  }

  void leave() {
    const uint32_t before = gate.fetch_sub(1, std::memory_order_acq_rel);
    if ((before & kCount) == 1 && (before & (kClosed | kEveryone)) != 0) gate.notify_one();
  }

  void worker(size_t thread_index) {
    for (uint32_t seen = 0;;) {
      seen = wait_for_change(round, seen);
      if (stopping.load(std::memory_order_acquire)) return;
      if (!enter(seen)) continue;
      seen = round.load(std::memory_order_relaxed);  // it cannot move on while this worker is inside
      call(thread_index);
      leave();
    }
  }

  void begin_round(const std::function<void(size_t)>* new_work, bool needs_everyone) {
    work = new_work;
    const uint32_t next = round.load(std::memory_order_relaxed) + 1;
    gate.store(next << kRoundShift | (needs_everyone ? kEveryone | static_cast<uint32_t>(workers.size()) : 0), std::memory_order_release);
    round.store(next, std::memory_order_release);
    round.notify_all();
  }

  // Returns when no worker is inside, and none will be.
  void end_round(bool needs_everyone) {
    uint32_t now = needs_everyone ? gate.load(std::memory_order_acquire) : gate.fetch_or(kClosed, std::memory_order_acq_rel) | kClosed;
    while ((now & kCount) != 0) now = wait_for_change(gate, now);
    gate.store(kClosed, std::memory_order_relaxed);
  }

  void run(const std::function<void(size_t)>& new_work, bool needs_everyone) {
    CHECK(!running, "run() inside run()");
    running = true;
    if (workers.empty()) {
      work = &new_work;
      call(0);
    } else {
      begin_round(&new_work, needs_everyone);
      call(0);
      end_round(needs_everyone);
    }
    running = false;
    if (failed.load(std::memory_order_acquire)) {
      failed.store(false, std::memory_order_relaxed);
      std::rethrow_exception(std::exchange(error, nullptr));
    }
  }

  void stop() {
    stopping.store(true, std::memory_order_release);
    round.fetch_add(1, std::memory_order_release);
    round.notify_all();
    for (std::thread& thread : workers) thread.join();
  }
};

ThreadPool::ThreadPool(size_t num_threads) : state_(std::make_unique<State>()) {
  if (num_threads == 0) num_threads = usable_cores();
  CHECK(num_threads <= State::kCount, "{} threads", num_threads);
  state_->workers.reserve(num_threads - 1);
  state_->shares = std::vector<State::Share>(num_threads);
  try {
    for (size_t i = 1; i < num_threads; ++i) state_->workers.emplace_back([state = state_.get(), i] { state->worker(i); });
  } catch (const std::system_error& error) {
    const size_t started = state_->workers.size() + 1;
    state_->stop();
    raise(resource, "threads: want {}, the system gives {}: {}", num_threads, started, error.what());
  }
}

ThreadPool::~ThreadPool() { state_->stop(); }

size_t ThreadPool::num_threads() const { return state_->workers.size() + 1; }

void ThreadPool::run(const std::function<void(size_t)>& work) { state_->run(work, true); }

void ThreadPool::parallel_for(size_t count, size_t grain, const Part& work) {
  CHECK(grain > 0, "grain 0");
  if (count == 0) return;
  if (count <= grain || num_threads() == 1) {
    for (size_t begin = 0; begin < count; begin += grain) work(0, begin, std::min(count, begin + grain));
    return;
  }
  State& s = *state_;
  const size_t threads = num_threads(), grains = (count + grain - 1) / grain;
  const auto share_end = [&](size_t thread) { return std::min(count, grains * (thread + 1) / threads * grain); };
  for (size_t thread = 0; thread < threads; ++thread) {
    s.shares[thread].next.store(thread == 0 ? 0 : share_end(thread - 1), std::memory_order_relaxed);
  }
  const std::function<void(size_t)> take_parts = [&](size_t thread) {
    for (size_t i = 0; i < threads; ++i) {
      const size_t owner = thread + i < threads ? thread + i : thread + i - threads, end = share_end(owner);
      std::atomic<size_t>& next = s.shares[owner].next;
      for (;;) {
        if (next.load(std::memory_order_relaxed) >= end || s.failed.load(std::memory_order_relaxed)) break;
        const size_t begin = next.fetch_add(grain, std::memory_order_relaxed);
        if (begin >= end) break;
        work(thread, begin, std::min(end, begin + grain));
      }
    }
  };
  s.run(take_parts, false);
}

void ThreadPool::parallel_for(size_t count, size_t grain, const std::function<void(size_t, size_t)>& work) {
  parallel_for(count, grain, [&](size_t, size_t begin, size_t end) { work(begin, end); });
}

}  // namespace quern
