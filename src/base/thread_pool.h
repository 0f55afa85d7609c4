// The threads of one engine: the caller plus num_threads - 1 workers that spin briefly for the next piece of work and then sleep.
// Owned by Backend. One thread at a time may call run(); the work itself may not call run() again.
#pragma once
#include <cstddef>
#include <functional>
#include <memory>

#include "base/usable_cores.h"

namespace quern {

class ThreadPool {
 public:
  // `num_threads` in total, the caller included; 0 = usable_cores(). Throws resource when the system refuses a thread.
  explicit ThreadPool(size_t num_threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  size_t num_threads() const;

  // Calls work(thread_index) once on each thread, thread 0 being the caller; returns when all have returned.
  // Writes made by the work are visible to the caller afterwards. An exception from the work is rethrown here (the first one).
  void run(const std::function<void(size_t thread_index)>& work);

  // Calls work(thread_index, begin, end) over disjoint parts of [0, count), each at most `grain` long. Thread i takes the i-th share of
  // the range from its start onwards, then helps the others, so which thread takes which part is not fixed and the work must not depend
  // on it. A worker that the system gives no core before the range has been dealt out is not waited for. After an exception parts that
  // nobody has begun are left out.
  using Part = std::function<void(size_t thread_index, size_t begin, size_t end)>;
  void parallel_for(size_t count, size_t grain, const Part& work);
  void parallel_for(size_t count, size_t grain, const std::function<void(size_t begin, size_t end)>& work);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quern
