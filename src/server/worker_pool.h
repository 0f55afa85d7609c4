// A few threads that read requests: JSON, chat format and tokens take longer than the event loop may stand still. Work must not throw.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace quern {

class WorkerPool {
 public:
  explicit WorkerPool(size_t num_threads);
  ~WorkerPool();  // stop()
  // Any thread. Work that has not begun at stop() is dropped.
  void post(std::function<void()> work);
  void stop();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool is_stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace quern
