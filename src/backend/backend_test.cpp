// Opening a device, its memory, its errors, and the choice of rows.
#include "backend/backend.h"

#include <gtest/gtest.h>

#include <cstring>

#include "backend/cpu/features.h"

namespace quern {
namespace {

TEST(CpuFeatures, WhatBuildsOnASetThatIsOffIsOffToo) {
  const CpuFeatures all{true, true, true, true, true};
  EXPECT_EQ(all.text(), "avx2 avx512 vnni bf16 amx");
  EXPECT_EQ(without(all, "", "test").text(), all.text());
  EXPECT_EQ(without(all, "avx2", "test").text(), "baseline");
  EXPECT_EQ(without(all, "avx512", "test").text(), "avx2");
  EXPECT_EQ(without(all, "vnni,amx", "test").text(), "avx2 avx512 bf16");
  try {
    without(all, "vnni,sse9", "QUERN_CPU_OFF");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), usage);
    EXPECT_NE(error.message().find("QUERN_CPU_OFF"), std::string::npos);
    EXPECT_NE(error.message().find("sse9"), std::string::npos);
  }
}

TEST(CpuRuntime, MemoryIsAlignedAndKeepsWhatIsWritten) {
  const auto runtime = open_cpu({.num_threads = 1});
  for (const size_t bytes :
       {size_t{0}, size_t{1}, size_t{63}, size_t{4097}, (size_t{2} << 20) - 1, size_t{2} << 20, (size_t{5} << 20) + 3}) {
    const Storage storage = runtime->allocate(bytes);
    EXPECT_EQ(storage.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(storage.data()) % (bytes >= size_t{2} << 20 ? size_t{2} << 20 : 64), 0U);
    runtime->clear(storage.data(), bytes);
    if (bytes == 0) continue;
    const char text = 'q';
    char read = 0;
    runtime->upload(storage.data() + bytes - 1, &text, 1);
    runtime->download(&read, storage.data() + bytes - 1, 1);
    EXPECT_EQ(read, 'q');
  }
}

TEST(CpuRuntime, TooMuchMemoryIsAResourceErrorWithBothNumbers) {
  const auto runtime = open_cpu({.num_threads = 1});
  for (const size_t bytes : {size_t{1} << 50, ~size_t{0}, ~size_t{0} - 4096}) {
    try {
      runtime->allocate(bytes);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), resource);
      EXPECT_NE(error.message().find(std::to_string(bytes)), std::string::npos) << error.message();
      EXPECT_NE(error.message().find("available"), std::string::npos) << error.message();
    }
  }
}

TEST(Backend, UnknownNamesAreUsageErrors) {
  const auto code_of = [](BackendOptions options) {
    options.num_threads = 1;
    try {
      Backend backend(options);
      return ErrorCode{};
    } catch (const Error& error) {
      return error.code();
    }
  };
  EXPECT_EQ(code_of({.forced_off = "avx1024"}), usage);
  EXPECT_EQ(code_of({.kernels = "multiply=fast"}), usage);
  EXPECT_EQ(code_of({.kernels = "linear"}), usage);
}

}  // namespace
}  // namespace quern
