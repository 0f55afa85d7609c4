// The program, cuda_test [small] [TEST ..]: every row of CUDA against double precision on the host. Exit status 77 where there is no GPU.
#include <algorithm>
#include <chrono>

#include "backend/cuda/conformance_test.h"
#include "base/thread_pool.h"

namespace quern::cuda_test {

HostTensor random_tensor(Shape shape, Format format, Rng& rng, float scale, float mean) {
  HostTensor t{shape, format, {}, {}};
  const size_t columns = shape.columns(), row = row_bytes(format, columns);
  t.bytes.resize(shape.rows() * row);
  t.values.resize(shape.rows() * columns);
  const uint64_t seed = rng.bits();
  on_every_core(shape.rows(), [&](size_t begin, size_t end) {
    std::vector<float> values(columns);
    for (size_t i = begin; i < end; ++i) {
      Rng own(seed ^ i * 0xd1342543de82ef95ULL);
      for (float& v : values) v = mean + scale * own.normal();
      format_info(format).pack(values.data(), columns, t.bytes.data() + i * row);
      format_info(format).unpack(t.bytes.data() + i * row, columns, t.values.data() + i * columns);
    }
  });
  return t;
}

void on_every_core(size_t count, const std::function<void(size_t begin, size_t end)>& work) {
  static ThreadPool pool;
  pool.parallel_for(count, std::max<size_t>(1, count / (8 * pool.num_threads())), work);
}

TestDevice::TestDevice(bool is_small) : backend_(BackendOptions{.device = {Device::Kind::cuda, 0}}), is_small_(is_small || is_emulated()) {}

std::byte* TestDevice::upload_bytes(const void* data, size_t bytes) {
  kept_.push_back(runtime().allocate(bytes));
  runtime().upload(kept_.back().data(), data, bytes);
  return kept_.back().data();
}

void TestDevice::poison_bytes(std::byte* data, size_t bytes) {
  const std::vector<uint8_t> poison(bytes, 0xff);  // NaN in every float format
  runtime().upload(data, poison.data(), bytes);
}

Tensor TestDevice::upload(HostTensor& tensor) {
  return {upload_bytes(tensor.bytes.data(), tensor.bytes.size()), tensor.shape, tensor.format, backend_.info().device, kCanonical};
}

Tensor TestDevice::allocate(Shape shape, Format format) {
  const size_t bytes = shape.rows() * row_bytes(format, shape.columns());
  kept_.push_back(runtime().allocate(bytes));
  const Tensor t = kept_.back().view(shape, format);
  poison(t);
  return t;
}

void TestDevice::poison(const Tensor& tensor) { poison_bytes(tensor.data, tensor.bytes()); }

std::vector<float> TestDevice::download(const Tensor& tensor) {
  std::vector<std::byte> bytes(tensor.bytes());
  runtime().download(bytes.data(), tensor.data, bytes.size());
  std::vector<float> values(tensor.rows() * tensor.columns());
  format_info(tensor.format).unpack(bytes.data(), values.size(), values.data());  // plain formats: one long row
  return values;
}

const Weight* TestDevice::load(WeightUse use, std::vector<HostTensor>& parts, bool private_layout) {
  std::vector<Tensor> views;
  for (HostTensor& part : parts) views.push_back(part.view());
  if (private_layout) {
    weights_.push_back(std::make_unique<LoadedWeight>(backend_.load_weight({use, views})));
  } else {
    auto loaded = std::make_unique<LoadedWeight>();
    loaded->weight.use = use;
    for (HostTensor& part : parts) loaded->weight.parts.push_back(upload(part));
    weights_.push_back(std::move(loaded));
  }
  return &weights_.back()->weight;
}

Outcome& outcome() {
  static Outcome total;
  return total;
}

void expect(bool holds, const std::string& what) {
  ++outcome().cases;
  if (holds) return;
  if (++outcome().failures <= 60) std::printf("FAILED %s\n", what.c_str());
}

void expect_close(const std::string& what, const std::vector<float>& got, const std::function<double(size_t)>& want,
                  const std::function<double(size_t)>& tolerance) {
  size_t wrong = 0, first = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - want(i)), bound = tolerance(i);
    if (error <= bound) {
      outcome().worst = std::max(outcome().worst, error / std::max(bound, 1e-300));
    } else if (wrong++ == 0) {
      first = i;
    }
  }
  expect(wrong == 0, wrong == 0 ? what
                                : fmt::format("{}: {} of {} values; [{}] want {} +- {}, found {}", what, wrong, got.size(), first,
                                              want(first), tolerance(first), got[first]));
}

TestBatch make_batch(TestDevice& device, const std::vector<SequenceShape>& sequences, int32_t block_tokens, int32_t vocab, Rng& rng) {
  TestBatch b;
  int32_t stride = 1, max_query = 0, max_context = 0, decode = 0;
  for (const SequenceShape& s : sequences) {
    stride = std::max(stride, (s.context + block_tokens - 1) / block_tokens + 1);
    max_query = std::max(max_query, s.query_tokens);
    max_context = std::max(max_context, s.context);
    if (s.query_tokens == 1 && decode == static_cast<int32_t>(b.context_lengths.size())) ++decode;
    b.context_lengths.push_back(s.context);
  }
  std::vector<int32_t> blocks;
  b.num_blocks = static_cast<int32_t>(sequences.size()) * stride + 3;
  for (int32_t i = 0; i < b.num_blocks; ++i) blocks.push_back(i);
  for (size_t i = blocks.size() - 1; i > 0; --i) std::swap(blocks[i], blocks[rng.below(i + 1)]);
  for (size_t s = 0; s < sequences.size(); ++s) {
    const int32_t* table = blocks.data() + s * static_cast<size_t>(stride);
    b.block_tables.insert(b.block_tables.end(), table, table + stride);
    b.query_start.push_back(static_cast<int32_t>(b.positions.size()));
    for (int32_t i = 0; i < sequences[s].query_tokens; ++i) {
      const int32_t position = sequences[s].context - sequences[s].query_tokens + i;
      b.positions.push_back(position);
      b.slots.push_back(table[position / block_tokens] * block_tokens + position % block_tokens);
      b.token_ids.push_back(static_cast<int32_t>(rng.below(static_cast<size_t>(vocab))));
      b.variants.push_back(static_cast<int32_t>(rng.below(2)));
    }
    b.sample_rows.push_back(static_cast<int32_t>(b.positions.size()) - 1);
  }
  b.query_start.push_back(static_cast<int32_t>(b.positions.size()));
  b.host = {.num_tokens = static_cast<int32_t>(b.positions.size()),
            .num_sequences = static_cast<int32_t>(sequences.size()),
            .num_decode = decode,
            .num_sample_rows = static_cast<int32_t>(b.sample_rows.size()),
            .max_query_tokens = max_query,
            .max_context = max_context,
            .block_table_stride = stride};
  b.device = b.host;
  b.device.token_ids = device.upload(b.token_ids);
  b.device.positions = device.upload(b.positions);
  b.device.slots = device.upload(b.slots);
  b.device.rope_variants = device.upload(b.variants);
  b.device.query_start = device.upload(b.query_start);
  b.device.context_lengths = device.upload(b.context_lengths);
  b.device.block_tables = device.upload(b.block_tables);
  b.device.sample_rows = device.upload(b.sample_rows);
  return b;
}

}  // namespace quern::cuda_test

int main(int argc, char** argv) {
  using namespace quern;
  using namespace quern::cuda_test;
  if (num_cuda_devices() == 0) {
    std::printf("skipped: no GPU\n");
    return 77;
  }
  constexpr std::pair<const char*, void (*)(TestDevice&)> kTests[] = {{"runtime", test_runtime},
                                                                      {"linear", test_linear},
                                                                      {"embed", test_embed},
                                                                      {"expand", test_expand},
                                                                      {"qkv", test_qkv},
                                                                      {"gate_up", test_gate_up},
                                                                      {"head", test_head},
                                                                      {"batch", test_batch_independence},
                                                                      {"attention", test_attention},
                                                                      {"sample", test_sample},
                                                                      {"lost", test_lost}};
  const bool is_small = argc > 1 && std::strcmp(argv[1], "small") == 0;
  const std::vector<std::string> wanted(argv + (is_small ? 2 : 1), argv + argc);
  try {
    for (const auto& [name, test] : kTests) {
      if (wanted.empty() ? test == &test_lost : std::ranges::find(wanted, name) == wanted.end()) continue;
      TestDevice device(is_small);
      const size_t cases = outcome().cases, failures = outcome().failures;
      outcome().worst = 0;
      const auto start = std::chrono::steady_clock::now();
      test(device);
      std::printf("%-10s %5zu cases %4zu failed, largest error %.2f of its tolerance, %.1f s\n", name, outcome().cases - cases,
                  outcome().failures - failures, outcome().worst,
                  std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      std::fflush(stdout);
    }
  } catch (const Error& error) {
    std::printf("ERROR %s\n", error.what());
    return 1;
  }
  std::printf("%zu cases, %zu failed\n", outcome().cases, outcome().failures);
  return outcome().failures == 0 ? 0 : 1;
}
