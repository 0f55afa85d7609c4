#include "base/bus_error.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <iterator>

#include "base/error.h"

namespace quern {
namespace {

constexpr size_t kMaxFiles = 128, kMaxName = 400;

// A signal handler reaches nothing but static storage, and may take no lock: `begin` is written last and cleared first.
struct Mapping {
  std::atomic<bool> is_taken;
  std::atomic<uintptr_t> begin, size;
  char name[kMaxName];
};
Mapping mappings[kMaxFiles];

const Mapping* mapping_of(uintptr_t address) {
  for (const Mapping& mapping : mappings) {
    const uintptr_t begin = mapping.begin.load(std::memory_order_acquire);
    if (begin != 0 && address >= begin && address - begin < mapping.size.load(std::memory_order_relaxed)) return &mapping;
  }
  return nullptr;
}

void say(const char* text) {
  if (::write(STDERR_FILENO, text, std::strlen(text)) < 0) return;  // nobody is left to be told
}

void end_process(int, siginfo_t* info, void*) {
  if (info->si_code != BUS_ADRERR) {
    std::signal(SIGBUS, SIG_DFL);  // the failed instruction is run again and ends the process
    return;
  }
  const Mapping* mapping = mapping_of(reinterpret_cast<uintptr_t>(info->si_addr));
  say("quern: ");
  say(mapping != nullptr ? mapping->name : "a mapped file");
  say(": bytes that it had when it was opened cannot be read: it was cut, or its disk fails\n");
  _exit(static_cast<int>(resource));
}

}  // namespace

void report_bus_errors() {
  struct sigaction action = {};
  action.sa_sigaction = &end_process;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

void note_mapped_file(const std::byte* data, size_t size, const std::string& path) {
  for (Mapping& mapping : mappings) {
    if (mapping.is_taken.exchange(true, std::memory_order_acquire)) continue;
    const std::string shown = escaped(path, kMaxName - 1);
    const size_t length = std::min(shown.size(), kMaxName - 1);
    std::copy_n(shown.data(), length, mapping.name);
    mapping.name[length] = '\0';
    mapping.size.store(size, std::memory_order_relaxed);
    mapping.begin.store(reinterpret_cast<uintptr_t>(data), std::memory_order_release);
    return;
  }
}

void forget_mapped_file(const std::byte* data) {
  const auto mapping = std::ranges::find(mappings, reinterpret_cast<uintptr_t>(data),
                                         [](const Mapping& each) { return each.begin.load(std::memory_order_relaxed); });
  if (data == nullptr || mapping == std::end(mappings)) return;
  mapping->begin.store(0, std::memory_order_release);
  mapping->is_taken.store(false, std::memory_order_release);
}

}  // namespace quern
