#include "cli/interrupt.h"

#include <unistd.h>

#include <csignal>

#include "cli/verbs.h"

namespace quern {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};

// A handler reaches nothing but static storage.
volatile std::sig_atomic_t pending_signal = 0;
struct sigaction previous_actions[std::size(kSignals)];

void note_signal(int number) {
  if (pending_signal != 0) _exit(kStopped);
  pending_signal = number;
}

}  // namespace

Interrupt::Interrupt() {
  pending_signal = 0;
  struct sigaction action = {};
  action.sa_handler = &note_signal;
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    sigaction(kSignals[i], nullptr, &previous_actions[i]);
    // What the parent asked to ignore (nohup) stays ignored.
    if (previous_actions[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &action, nullptr);
  }
}

Interrupt::~Interrupt() {
  for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &previous_actions[i], nullptr);
}

int Interrupt::signal() const { return pending_signal; }
void Interrupt::clear() { pending_signal = 0; }

}  // namespace quern
