// What the tests of the CUDA rows share: random tensors with their exact values, a device to run on, and counting of failures.
// The same tests run on a GPU (cuda_test) and, kernel by kernel, on the CPU (tests/cuda_on_cpu).
#pragma once
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace quern::cuda_test {

class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}
  uint64_t bits() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15ULL;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
  }
  size_t below(size_t n) { return bits() % n; }
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  float normal() {
    const double u = 1 - uniform(), v = uniform();
    return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v));
  }

 private:
  uint64_t state_;
};

// A tensor in host memory and the exact values of its bytes.
struct HostTensor {
  Shape shape;
  Format format = Format::f32;
  std::vector<std::byte> bytes;
  std::vector<float> values;

  Tensor view() { return {bytes.data(), shape, format, {}, kCanonical}; }
  double at(size_t row, size_t column) const { return values[row * shape.columns() + column]; }
  float* row(size_t i) { return values.data() + i * shape.columns(); }
};

HostTensor random_tensor(Shape shape, Format format, Rng& rng, float scale = 1, float mean = 0);

// Calls work(begin, end) over parts of [0, count) on every core: references are the slow half of these tests.
void on_every_core(size_t count, const std::function<void(size_t begin, size_t end)>& work);

// The device of the test and everything that a test puts there; freed with it.
class TestDevice {
 public:
  explicit TestDevice(bool is_small);
  Backend& backend() { return backend_; }
  DeviceRuntime& runtime() { return backend_.runtime(); }
  const DeviceTables& tables() { return runtime().tables(); }
  bool is_emulated() { return backend_.info().name == "emulation"; }
  // Small shapes alone: where kernels run on the CPU, and under the tools of compute-sanitizer.
  bool is_small() { return is_small_; }

  Tensor upload(HostTensor& tensor);
  template <class T>
  const T* upload(const std::vector<T>& values) {
    return reinterpret_cast<const T*>(upload_bytes(values.data(), values.size() * sizeof(T)));
  }
  Tensor allocate(Shape shape, Format format);  // poisoned
  void poison(const Tensor& tensor);
  std::vector<float> download(const Tensor& tensor);
  template <class T>
  std::vector<T> download(const T* device, size_t count) {
    std::vector<T> values(count);
    runtime().download(values.data(), reinterpret_cast<const std::byte*>(device), count * sizeof(T));
    return values;
  }

  // The weight as the backend arranges it, or in the canonical layout.
  const Weight* load(WeightUse use, std::vector<HostTensor>& parts, bool private_layout);

  // Runs `row` on a workspace that is poisoned too.
  template <class Args>
  void run(const KernelRow<Args>& row, const Args& args) {
    const size_t bytes = row.workspace_bytes == nullptr ? 0 : row.workspace_bytes(args, backend_.info());
    const Storage workspace = runtime().allocate(bytes);
    poison_bytes(workspace.data(), bytes);
    runtime().stream().workspace = workspace.data();
    runtime().stream().workspace_bytes = bytes;
    row.run(args, runtime().stream());
    runtime().synchronize();
  }
  void clear() { kept_.clear(), weights_.clear(); }

 private:
  std::byte* upload_bytes(const void* data, size_t bytes);
  void poison_bytes(std::byte* data, size_t bytes);

  Backend backend_;
  bool is_small_;
  std::vector<Storage> kept_;
  std::vector<std::unique_ptr<LoadedWeight>> weights_;
};

// Checks that |got - want| <= tolerance for all i, once a case; prints the first that is not.
struct Outcome {
  size_t cases = 0, failures = 0;
  double worst = 0;  // largest error as a share of its tolerance
};
Outcome& outcome();
void expect_close(const std::string& what, const std::vector<float>& got, const std::function<double(size_t)>& want,
                  const std::function<double(size_t)>& tolerance);
void expect(bool holds, const std::string& what);

// A model-like batch over a paged cache: `chunks` of query tokens that end contexts of the given lengths. Decode rows first.
struct SequenceShape {
  int32_t query_tokens, context;
};
struct TestBatch {
  std::vector<int32_t> token_ids, positions, slots, variants, query_start, context_lengths, block_tables, sample_rows;
  BatchView host, device;
  int32_t num_blocks = 0;
};
TestBatch make_batch(TestDevice& device, const std::vector<SequenceShape>& sequences, int32_t block_tokens, int32_t vocab, Rng& rng);

void test_linear(TestDevice& device);
void test_embed(TestDevice& device);
void test_expand(TestDevice& device);
void test_qkv(TestDevice& device);
void test_gate_up(TestDevice& device);
void test_head(TestDevice& device);
void test_batch_independence(TestDevice& device);
void test_attention(TestDevice& device);
void test_sample(TestDevice& device);
void test_lost(TestDevice& device);  // leaves no GPU to the program: runs when it is named, and last
void test_runtime(TestDevice& device);

}  // namespace quern::cuda_test
