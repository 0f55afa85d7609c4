// Every thread runs once a round, every index is taken once, exceptions arrive, an idle pool uses no CPU, quotas are read as written.
#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/error.h"

namespace quern {
namespace {

TEST(ThreadPool, EachThreadRunsOnceARound) {
  for (const size_t threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.num_threads(), threads);
    std::vector<int> calls(threads);  // no atomics: the pool itself must order the writes
    for (int round = 0; round < 300; ++round) {
      pool.run([&](size_t i) { ++calls[i]; });
      if (round % 100 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // past the spinning: workers sleep
    }
    EXPECT_EQ(calls, std::vector<int>(threads, 300));
  }
}

TEST(ThreadPool, ParallelForTakesEachIndexOnce) {
  ThreadPool pool(3);
  for (const size_t count : {0, 1, 2, 15, 16, 17, 64, 1000}) {
    for (const size_t grain : {1, 2, 16, 2000}) {
      std::vector<int> taken(count);
      pool.parallel_for(count, grain, [&](size_t thread, size_t begin, size_t end) {
        EXPECT_LT(thread, 3U);
        EXPECT_LE(end - begin, grain);
        for (size_t i = begin; i < end; ++i) ++taken[i];
      });
      EXPECT_EQ(taken, std::vector<int>(count, 1)) << count << " by " << grain;
    }
  }
}

TEST(ThreadPool, AnExceptionIsRethrownAndThePoolGoesOn) {
  ThreadPool pool(3);
  for (size_t thrower = 0; thrower < 3; ++thrower) {
    EXPECT_THROW(pool.run([&](size_t i) {
      if (i == thrower) raise(invalid_input, "thread {}", i);
    }),
                 Error);
  }
  EXPECT_THROW(pool.run([](size_t) { throw std::runtime_error("all of them"); }), std::runtime_error);
  EXPECT_THROW(pool.parallel_for(100, 1,
                                 [](size_t begin, size_t) {
                                   if (begin == 50) throw std::runtime_error("one part");
                                 }),
               std::runtime_error);
  std::atomic<int> calls{0};
  pool.run([&](size_t) { ++calls; });
  EXPECT_EQ(calls, 3);
}

// More threads than cores: workers come late to most rounds, and must neither miss one that needs everyone nor touch one that is over.
TEST(ThreadPool, LateWorkersAreLeftOut) {
  ThreadPool pool(8);
  std::vector<int> calls(8);
  for (int round = 0; round < 400; ++round) {
    std::vector<int> taken(64);
    for (int again = 0; again < 5; ++again) {
      pool.parallel_for(taken.size(), 3, [&](size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) ++taken[i];
      });
    }
    ASSERT_EQ(taken, std::vector<int>(64, 5)) << round;
    if (round % 16 == 0) pool.run([&](size_t i) { ++calls[i]; });
  }
  EXPECT_EQ(calls, std::vector<int>(8, 25));
}

TEST(ThreadPool, RunInsideRunIsRefused) {
  ThreadPool pool(1);
  EXPECT_THROW(pool.run([&](size_t) { pool.run([](size_t) {}); }), Error);
}

TEST(ThreadPool, AnIdlePoolUsesNoCpu) {
  ThreadPool pool(4);
  pool.run([](size_t) {});
  const auto cpu_seconds = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  };
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(cpu_seconds() - before, 0.05);  // a spinning worker alone would take 0.2 s; sanitizers slow the 50 us of spinning
}

TEST(UsableCores, AtLeastOne) { EXPECT_GE(usable_cores(), 1U); }

TEST(UsableCores, QuotaOfCgroups) {
  const std::filesystem::path root = std::filesystem::temp_directory_path() / ("quern_cgroup_" + std::to_string(getpid()));
  const auto write = [&](const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text;
  };
  write("v2/cpu.max", "max 100000\n");
  write("v2/a/cpu.max", "150000 100000\n");
  write("v2/a/b/cpu.max", "400000 100000\n");
  write("v2/bad/cpu.max", "lots 0\n");
  write("v1/cpu/c/cpu.cfs_quota_us", "50000\n");
  write("v1/cpu/c/cpu.cfs_period_us", "100000\n");
  write("v1/cpu/cpu.cfs_quota_us", "-1\n");
  write("v1/cpu/cpu.cfs_period_us", "100000\n");
  const struct {
    const char *membership, *root;
    double quota;
  } cases[] = {
      {"0::/\n", "v2", 0},
      {"0::/a\n", "v2", 1.5},
      {"0::/a/b\n", "v2", 1.5},  // the parent is tighter
      {"0::/bad\n", "v2", 0},
      {"0::/not/mounted/here\n", "v2", 0},
      {"4:memory:/c\n1:cpu:/c\n", "v1", 0.5},
      {"1:cpu,cpuacct:/c\n", "v1", 0.5},
      {"1:cpuset:/c\n", "v1", 0},
      {"", "v1", 0},
      {"rubbish", "v1", 0},
  };
  for (const auto& c : cases) EXPECT_EQ(cgroup_quota(c.membership, (root / c.root).string()), c.quota) << c.membership;
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace quern
