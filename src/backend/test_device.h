// For tests: the device that they run on, QUERN_TEST_DEVICE=cpu (without it) or cuda. `make test-gpu` runs them on both.
#pragma once
#include <cstdlib>
#include <string_view>

#include "backend/backend.h"

namespace quern::testing {

inline Device test_device() {
  const char* const name = std::getenv("QUERN_TEST_DEVICE");
  return name != nullptr && std::string_view(name) == "cuda" ? Device{Device::Kind::cuda, 0} : Device{};
}
inline bool tests_run_on_a_gpu() { return test_device().kind == Device::Kind::cuda; }

}  // namespace quern::testing
