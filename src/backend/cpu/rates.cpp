#include "backend/cpu/rates.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>

#include "base/clock.h"

namespace quern::cpu {
namespace {

constexpr size_t kReadBytes = size_t{256} << 20;  // well beyond any cache of a desktop; servers' larger ones are passed over three times
constexpr int kPasses = 5;

// Sum of `count` words (a multiple of 8), read once in order.
uint64_t sum_words(const uint64_t* words, size_t count) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i < count; i += 8) {
    for (size_t lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
  }
  uint64_t total = 0;
  for (const uint64_t sum : sums) total += sum;
  return total;
}

float fma_rounds_plain(size_t rounds) {
  float sums[kFmaChains];
  std::fill_n(sums, kFmaChains, 1.F);
  for (size_t round = 0; round < rounds; ++round) {
    for (float& sum : sums) sum = sum * 0.999F + 0.001F;
  }
  return *std::max_element(sums, sums + kFmaChains);
}

struct FmaLoop {
  float (*run)(size_t rounds);
  size_t lanes;
};

FmaLoop fma_loop(const DeviceInfo& features) {
#ifdef __x86_64__
  if (features.avx512) return {&fma_rounds_avx512, 16};
  if (features.avx2) return {&fma_rounds_avx2, 8};
#else
  (void)features;
#endif
  return {&fma_rounds_plain, 1};
}

}  // namespace

double read_bandwidth(ThreadPool& pool) {
  constexpr size_t kWords = kReadBytes / sizeof(uint64_t), kGrain = size_t{1} << 17;  // 1 MiB a piece
  const auto words = std::make_unique_for_overwrite<uint64_t[]>(kWords);
  pool.parallel_for(kWords, kGrain, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) words[i] = i * 0x9e3779b97f4a7c15U;
  });
  std::atomic<uint64_t> sink = 0;
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const double start = monotonic_seconds();
    pool.parallel_for(kWords, kGrain, [&](size_t begin, size_t end) { sink += sum_words(words.get() + begin, end - begin); });
    best = std::max(best, static_cast<double>(kReadBytes) / (monotonic_seconds() - start));
  }
  return best;
}

double operation_rate(ThreadPool& pool, const DeviceInfo& features) {
  constexpr size_t kRounds = 2'000'000;
  const FmaLoop loop = fma_loop(features);
  std::atomic<bool> sink = false;
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const double start = monotonic_seconds();
    pool.run([&](size_t) { sink = loop.run(kRounds) > 0; });
    const double operations = 2.0 * static_cast<double>(kRounds * kFmaChains * loop.lanes * pool.num_threads());
    best = std::max(best, operations / (monotonic_seconds() - start));
  }
  return best;
}

}  // namespace quern::cpu
