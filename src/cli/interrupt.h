// SIGINT, SIGTERM and SIGHUP as a question that work asks now and then. The first signal asks to stop; a second one before clear() ends
// the process at once with kStopped. Reads that wait return early (EINTR). One at a time, in the main thread.
#pragma once
#include <exception>

namespace quern {

// Thrown by Interrupt::check; main turns it into the exit status kStopped.
struct StoppedBySignal : std::exception {
  const char* what() const noexcept override { return "stopped by a signal"; }
};

class Interrupt {
 public:
  Interrupt();
  ~Interrupt();  // the handlers that were there before
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool requested() const { return signal() != 0; }
  int signal() const;   // 0: none since the last clear()
  void check() const {  // for work that is given up as a whole
    if (requested()) throw StoppedBySignal();
  }
  void clear();
};

}  // namespace quern
