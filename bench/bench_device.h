// What the benches share: a CPU backend, random matrices of many formats, and limits measured once. Options come from the environment:
// QUERN_BENCH_THREADS, and QUERN_CPU_OFF as everywhere.
#pragma once
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <random>
#include <vector>

#include "backend/measure.h"
#include "base/parse.h"

namespace quern {

inline Backend& bench_backend() {
  static Backend backend([] {
    BackendOptions options;
    if (const char* threads = std::getenv("QUERN_BENCH_THREADS")) options.num_threads = parse_number<size_t>(threads, 1, 1024).value_or(0);
    return options;
  }());
  return backend;
}

inline double bench_bandwidth() {
  static const double rate = measure_read_bandwidth(bench_backend());
  return rate;
}

// Of the unit that multiplies weights of this format.
inline UnitRate bench_operations(Format weights) {
  static const UnitRate floats = measure_operations(bench_backend(), Format::f32), bytes = measure_operations(bench_backend(), Format::i8);
  return weights == Format::f32 || weights == Format::f16 || weights == Format::bf16 ? floats : bytes;
}

struct BenchTensor {
  Storage storage;
  Tensor tensor;
};

inline BenchTensor bench_floats(Shape shape, uint32_t seed) {
  BenchTensor t;
  t.tensor = Tensor{nullptr, shape, Format::f32, Device{}, kCanonical};
  t.storage = bench_backend().runtime().allocate(t.tensor.bytes());
  t.tensor.data = t.storage.data();
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> some(4096 + 17);  // repeated at an odd distance: as random as the kernels can tell
  for (float& v : some) v = normal(engine);
  for (size_t i = 0; i < t.tensor.rows() * t.tensor.columns(); ++i) t.tensor.f32()[i] = some[i % some.size()];
  return t;
}

// Random normal weights; every 16th row is packed, the rows between are copies.
inline BenchTensor bench_weights(size_t rows, size_t columns, Format format, uint32_t seed) {
  BenchTensor t;
  t.tensor = Tensor{nullptr, {rows, columns}, format, Device{}, kCanonical};
  t.storage = bench_backend().runtime().allocate(t.tensor.bytes());
  t.tensor.data = t.storage.data();
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, 0.05F);
  std::vector<float> values(columns);
  const size_t bytes = t.tensor.row_bytes();
  for (size_t r = 0; r < rows; ++r) {
    if (r < 16) {
      for (float& v : values) v = normal(engine);
      format_info(format).pack(values.data(), columns, t.tensor.data + r * bytes);
    } else {
      std::copy_n(t.tensor.data + r % 16 * bytes, bytes, t.tensor.data + r * bytes);
    }
  }
  return t;
}

}  // namespace quern
