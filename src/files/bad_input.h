// One case of bad input: how the file is made, and what must be said of it.
#pragma once
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <ctime>
#include <functional>
#include <string>

#include "files/checkpoint.h"
#include "files/sample_files.h"

namespace quern::sample {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kIsSanitized = true;
#elif defined(__has_feature)
inline constexpr bool kIsSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer);
#else
inline constexpr bool kIsSanitized = false;
#endif

struct BadInput {
  std::string name;                                         // class of reference/reliability.md and what is wrong: "F03_HeaderLengthIsHuge"
  std::function<std::string(const TemporaryFolder&)> make;  // writes the files, returns the path to open
  ErrorCode code;
  std::string fragment;  // of the message

  friend std::ostream& operator<<(std::ostream& out, const BadInput& input) { return out << input.name; }
};

inline long peak_kilobytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

// The promise of reliability.md section 1: the right code, a message that names what is wrong, 2 s, 256 MiB.
inline void expect_refused(const BadInput& input) {
  const TemporaryFolder folder;
  const std::string path = input.make(folder);
  const long peak = peak_kilobytes();
  const std::clock_t start = std::clock();
  try {
    const Checkpoint checkpoint = Checkpoint::open(path);
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), input.code) << error.message();
    EXPECT_NE(error.message().find(input.fragment), std::string::npos) << error.message();
    EXPECT_LT(error.message().size(), 1500U) << error.message();
    for (const char c : error.message()) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << error.message();
  }
  if (kIsSanitized) return;                                                    // several times the time and the memory
  EXPECT_LT(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC, 2.0);  // of the processor: other programs may keep it busy
  EXPECT_LT(peak_kilobytes() - peak, 256 * 1024);
}

}  // namespace quern::sample
