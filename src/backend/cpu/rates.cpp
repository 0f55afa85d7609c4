#include "backend/cpu/rates.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/clock.h"

namespace quern::cpu {
namespace {

constexpr size_t kReadBytes = size_t{256} << 20;  // well beyond any cache of a desktop; servers' larger ones are passed over three times
constexpr size_t kGrainBytes = size_t{1} << 20;
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
  float sums[kUnitChains];
  std::fill_n(sums, kUnitChains, 1.F);
  for (size_t round = 0; round < rounds; ++round) {
    for (float& sum : sums) sum = sum * 0.999F + 0.001F;
  }
  return *std::max_element(sums, sums + kUnitChains);
}

struct UnitLoop {
  const char* unit;
  float (*run)(size_t rounds);
  size_t lanes;  // multiply-adds of a vector
};

UnitLoop loop_for(const DeviceInfo& features, Format weights) {
#ifdef __x86_64__
  const bool bytes = weights != Format::f32 && weights != Format::f16 && weights != Format::bf16;
  if (weights == Format::bf16 && features.avx512_bf16) return {"bf16", &bf16_rounds_avx512, 32};
  if (bytes && features.avx512_vnni) return {"int8", &byte_rounds_avx512, 64};
  if (bytes && features.avx2) return {"int8", &byte_rounds_avx2, 32};
  if (features.avx512) return {"f32", &fma_rounds_avx512, 16};
  if (features.avx2) return {"f32", &fma_rounds_avx2, 8};
#else
  (void)features, (void)weights;
#endif
  return {"f32", &fma_rounds_plain, 1};
}

uint64_t read_plain(const std::byte* data, size_t bytes) {
  return sum_words(reinterpret_cast<const uint64_t*>(data), bytes / sizeof(uint64_t));
}

// Bytes a second of the median pass.
double read_rate(ThreadPool& pool, const std::byte* data, uint64_t (*read)(const std::byte*, size_t)) {
  std::atomic<uint64_t> sink = 0;
  std::array<double, kPasses> seconds{};
  for (double& pass : seconds) {
    const double start = monotonic_seconds();
    pool.parallel_for(kReadBytes, kGrainBytes, [&](size_t begin, size_t end) { sink += read(data + begin, end - begin); });
    pass = monotonic_seconds() - start;
  }
  std::ranges::sort(seconds);
  return static_cast<double>(kReadBytes) / seconds[kPasses / 2];
}

}  // namespace

double read_bandwidth(ThreadPool& pool, const DeviceInfo& features) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const std::unique_ptr<std::byte, void (*)(void*)> data(static_cast<std::byte*>(std::aligned_alloc(kHugePage, kReadBytes)), std::free);
  if (data == nullptr) raise(resource, "memory: want {} bytes to read", kReadBytes);
  madvise(data.get(), kReadBytes, MADV_HUGEPAGE);  // a refusal only costs time
  pool.parallel_for(kReadBytes, kGrainBytes, [&](size_t begin, size_t end) { std::memset(data.get() + begin, 1, end - begin); });
  double best = read_rate(pool, data.get(), read_plain);
#ifdef __x86_64__
  if (features.avx512) best = std::max(best, read_rate(pool, data.get(), read_lines_avx512));
#else
  (void)features;
#endif
  return best;
}

UnitRate operation_rate(ThreadPool& pool, const DeviceInfo& features, Format weights) {
  constexpr size_t kRounds = 1'000'000;
  const UnitLoop loop = loop_for(features, weights);
  std::atomic<bool> sink = false;
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const double start = monotonic_seconds();
    pool.run([&](size_t) { sink = loop.run(kRounds) > 0; });
    const double operations = 2.0 * static_cast<double>(kRounds * kUnitChains * loop.lanes * pool.num_threads());
    best = std::max(best, operations / (monotonic_seconds() - start));
  }
  return {loop.unit, best};
}

}  // namespace quern::cpu
