// A model's step on one GPU, without a file: weights made from a seed on the device, a paged cache filled at random, and the operations
// of a forward pass given to the Backend, so that the rows of the product run. Prints ms a step, bytes, GB/s and the share of the limit,
// which is bytes over the read rate measured in the same run; --kernels times each operation by itself.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_stream.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/layouts.h"

namespace quern::cuda {
namespace {

struct Shape7b {
  const char* name;
  size_t hidden, intermediate, layers, heads, kv_heads, head_dim, vocab;
};
constexpr Shape7b kShapes[] = {{"qwen-7b", 4096, 11008, 32, 32, 32, 128, 151936},
                               {"qwen2.5-7b", 3584, 18944, 28, 28, 4, 128, 152064},
                               {"qwen3-8b", 4096, 12288, 36, 32, 8, 128, 151936},
                               {"qwen2.5-0.5b", 896, 4864, 24, 14, 2, 64, 151936}};

__device__ uint32_t mix(uint64_t seed, uint64_t i) {
  uint64_t z = seed + i * 0x9e3779b97f4a7c15ULL;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
  return static_cast<uint32_t>(z >> 32);
}
__device__ float random_normal(uint64_t seed, uint64_t i) {
  const float u = (static_cast<float>(mix(seed, 2 * i)) + 0.5F) * 0x1p-32F, v = static_cast<float>(mix(seed, 2 * i + 1)) * 0x1p-32F;
  return sqrtf(-2.F * logf(u)) * cospif(2.F * v);
}
__global__ void fill_halves(uint16_t* out, size_t count, float scale, uint64_t seed) {
  for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += static_cast<size_t>(gridDim.x) * blockDim.x) {
    out[i] = f32_to_f16(scale * random_normal(seed, i));
  }
}
__global__ void fill_floats(float* out, size_t count, float mean, float scale, uint64_t seed) {
  for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += static_cast<size_t>(gridDim.x) * blockDim.x) {
    out[i] = mean + scale * random_normal(seed, i);
  }
}
__global__ void fill_words(uint32_t* out, size_t count, uint64_t seed) {
  for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += static_cast<size_t>(gridDim.x) * blockDim.x) {
    out[i] = mix(seed, i);
  }
}
// Scales of a granules weight: f16 (with 1024 + zero 8 beside it) or f32.
__global__ void fill_scales(std::byte* out, size_t count, int kind, float scale) {
  for (size_t i = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += static_cast<size_t>(gridDim.x) * blockDim.x) {
    const float value = scale * (0.75F + static_cast<float>(i % 97) / 194.F);
    if (kind == 0) reinterpret_cast<float*>(out)[i] = value;
    if (kind == 1) reinterpret_cast<uint16_t*>(out)[i] = f32_to_f16(value);
    if (kind == 2) reinterpret_cast<uint32_t*>(out)[i] = f32_to_f16(value) | 0x64080000U;
  }
}
// Reads `count` 16-byte values once; the sum keeps the loads alive.
__global__ void __launch_bounds__(512) read_all(const uint4* data, size_t count, uint32_t* out) {
  const size_t first = static_cast<size_t>(blockIdx.x) * 512 * 8 + threadIdx.x;
  uint32_t sum = 0;
  uint4 v[8];
#pragma unroll
  for (int i = 0; i < 8; ++i)
    v[i] = first + static_cast<size_t>(i) * 512 < count ? __ldcs(data + first + static_cast<size_t>(i) * 512) : uint4{};
#pragma unroll
  for (int i = 0; i < 8; ++i) sum ^= v[i].x ^ v[i].y ^ v[i].z ^ v[i].w;
  if (sum == 0x12345678) *out = sum;
}

struct Timer {
  cudaEvent_t begin, end;
  Timer() { cudaEventCreate(&begin), cudaEventCreate(&end); }
};

class Bench {
 public:
  Bench(const Shape7b& shape, Format format, Format head_format, size_t max_tokens, size_t sequences, size_t context)
      : s_(shape), backend_({.device = {Device::Kind::cuda, 0}}), sequences_(sequences), context_(context) {
    const float scale = 0.7F / std::sqrt(static_cast<float>(s_.hidden));
    for (size_t i = 0; i < s_.layers; ++i) {
      Layer l;
      l.qkv =
          weight(WeightUse::qkv, {s_.heads * s_.head_dim, s_.kv_heads * s_.head_dim, s_.kv_heads * s_.head_dim}, s_.hidden, format, scale);
      l.out = weight(WeightUse::attention_out, {s_.hidden}, s_.heads * s_.head_dim, format, scale);
      l.gate_up = weight(WeightUse::gate_up, {s_.intermediate, s_.intermediate}, s_.hidden, format, scale);
      l.down = weight(WeightUse::down, {s_.hidden}, s_.intermediate, format, scale);
      l.norm1 = floats({s_.hidden}, 1, 0.05F), l.norm2 = floats({s_.hidden}, 1, 0.05F);
      l.bias = floats({(s_.heads + 2 * s_.kv_heads) * s_.head_dim}, 0, 0.1F);
      layers_.push_back(l);
    }
    const size_t layer_bytes = bytes_;
    head_ = weight(WeightUse::head, {s_.vocab}, s_.hidden, head_format, scale);
    head_bytes_ = bytes_ - layer_bytes;
    embed_ = new Weight{WeightUse::embed, {halves({s_.vocab, s_.hidden}, 1)}};
    norm_ = floats({s_.hidden}, 1, 0.05F);
    const size_t pages = (context + kPage) / kPage + 1;
    num_blocks_ = static_cast<int32_t>(pages * sequences);
    kv_layer_bytes_ = static_cast<size_t>(num_blocks_) * s_.kv_heads * kPage * s_.head_dim * 2;
    for (size_t i = 0; i < 2 * s_.layers; ++i)
      kv_.push_back(halves({static_cast<size_t>(num_blocks_) * s_.kv_heads * kPage, s_.head_dim}, 1).data);
    h_ = floats({max_tokens, s_.hidden}, 0, 1);
    q_ = tensor({max_tokens, s_.heads * s_.head_dim}, Format::f16);
    y_ = tensor({max_tokens, s_.heads * s_.head_dim}, Format::f16);
    gate_ = tensor({max_tokens, s_.intermediate}, Format::f16);
    logits_ = tensor({sequences, s_.vocab}, Format::f32);
    cos_sin_ = floats({8192, s_.head_dim}, 0, 0.7F);
    ids_ = tensor({sequences, 1}, Format::f32);
    std::vector<SampleRow> rows(sequences);
    for (SampleRow& row : rows) row.temperature = 0;
    sample_rows_ = upload(rows);
  }

  // Sequences with `query` new tokens each that end contexts of `context` tokens.
  void set_batch(size_t query, size_t context) {
    std::vector<int32_t> ids, positions, slots, starts = {0}, lengths, tables, last;
    const size_t stride = static_cast<size_t>(num_blocks_) / sequences_;
    for (size_t s = 0; s < sequences_; ++s) {
      for (size_t p = 0; p < stride; ++p)
        tables.push_back(static_cast<int32_t>((p * sequences_ + s * 7) % static_cast<size_t>(num_blocks_)));
      for (size_t p = context - query; p < context; ++p) {
        ids.push_back(static_cast<int32_t>((s * 977 + p * 131) % s_.vocab));
        positions.push_back(static_cast<int32_t>(p));
        slots.push_back(tables[s * stride + p / kPage] * static_cast<int32_t>(kPage) + static_cast<int32_t>(p % kPage));
      }
      starts.push_back(static_cast<int32_t>(ids.size()));
      last.push_back(static_cast<int32_t>(ids.size()) - 1);
      lengths.push_back(static_cast<int32_t>(context));
    }
    batch_ = {.num_tokens = static_cast<int32_t>(ids.size()),
              .num_sequences = static_cast<int32_t>(sequences_),
              .num_decode = query == 1 ? static_cast<int32_t>(sequences_) : 0,
              .num_sample_rows = static_cast<int32_t>(sequences_),
              .max_query_tokens = static_cast<int32_t>(query),
              .max_context = static_cast<int32_t>(context),
              .block_table_stride = static_cast<int32_t>(stride)};
    batch_.token_ids = upload(ids), batch_.positions = upload(positions), batch_.slots = upload(slots), batch_.query_start = upload(starts);
    batch_.context_lengths = upload(lengths), batch_.block_tables = upload(tables), batch_.sample_rows = upload(last);
  }

  template <class Launch>
  void operations(const Launch& launch) {
    const auto tokens = static_cast<size_t>(batch_.num_tokens);
    const auto rows = [&](Tensor t) {
      t.shape = {tokens, t.columns()};
      return t;
    };
    const RopeView rope = {reinterpret_cast<const float*>(cos_sin_.data), nullptr, static_cast<int32_t>(s_.head_dim), 8192};
    launch("embed", EmbedArgs{embed_, batch_, rows(h_)});
    for (size_t i = 0; i < s_.layers; ++i) {
      const Layer& l = layers_[i];
      const KvView kv = {kv_[2 * i],
                         kv_[2 * i + 1],
                         Format::f16,
                         num_blocks_,
                         static_cast<int32_t>(s_.kv_heads),
                         static_cast<int32_t>(kPage),
                         static_cast<int32_t>(s_.head_dim)};
      launch("qkv", QkvArgs{.h = rows(h_),
                            .norm = l.norm1,
                            .norm_epsilon = 1e-6F,
                            .w = l.qkv,
                            .bias = l.bias,
                            .rope = rope,
                            .batch = batch_,
                            .kv = kv,
                            .q = rows(q_)});
      launch(
          "attention",
          AttentionArgs{.q = rows(q_), .kv = kv, .batch = batch_, .scale = 1 / std::sqrt(static_cast<float>(s_.head_dim)), .y = rows(y_)});
      launch("out", LinearArgs{.x = rows(y_), .w = l.out, .residual = rows(h_), .y = rows(h_)});
      launch("gate_up", GateUpArgs{rows(h_), l.norm2, 1e-6F, l.gate_up, rows(gate_)});
      launch("down", LinearArgs{.x = rows(gate_), .w = l.down, .residual = rows(h_), .y = rows(h_)});
    }
    launch("head", HeadArgs{rows(h_), batch_, norm_, 1e-6F, head_, logits_});
    launch("sample", SampleArgs{.logits = logits_,
                                .num_tokens = static_cast<int32_t>(s_.vocab),
                                .rows = sample_rows_,
                                .token_ids = reinterpret_cast<int32_t*>(ids_.data)});
  }
  void run(const EmbedArgs& a) { backend_.embed(a); }
  void run(const QkvArgs& a) { backend_.qkv(a); }
  void run(const AttentionArgs& a) { backend_.attention(a); }
  void run(const LinearArgs& a) { backend_.linear(a); }
  void run(const GateUpArgs& a) { backend_.gate_up(a); }
  void run(const HeadArgs& a) { backend_.head(a); }
  void run(const SampleArgs& a) { backend_.sample(a); }

  cudaStream_t stream() { return cuda_stream(backend_.runtime().stream()).handle; }

  // Median milliseconds of `body` over `repeats`, timed by events around each.
  template <class Body>
  float median_ms(int repeats, const Body& body) {
    std::vector<float> times;
    for (int i = 0; i < repeats; ++i) {
      cudaEventRecord(timer_.begin, stream());
      body();
      cudaEventRecord(timer_.end, stream());
      cuda_check(cudaEventSynchronize(timer_.end), "bench");
      float ms = 0;
      cudaEventElapsedTime(&ms, timer_.begin, timer_.end);
      times.push_back(ms);
    }
    std::ranges::sort(times);
    low_ = times[times.size() / 10], high_ = times[times.size() * 9 / 10];
    return times[times.size() / 2];
  }

  double read_rate() {  // bytes a second over the weights of the largest layer matrices, 1 GB at a time
    const size_t bytes = size_t{1} << 30;
    const Tensor data = halves({1, bytes / 2}, 1);
    const float ms = median_ms(20, [&] {
      read_all<<<static_cast<unsigned>(bytes / (512 * 8 * 16)), 512, 0, stream()>>>(reinterpret_cast<const uint4*>(data.data), bytes / 16,
                                                                                    reinterpret_cast<uint32_t*>(ids_.data));
    });
    return static_cast<double>(bytes) / (ms * 1e-3);
  }

  void report(const char* what, size_t query, size_t context, double rate, bool per_kernel) {
    set_batch(query, context);
    std::string rows_used;
    operations([&](const char* name, const auto& args) {
      const char* row = backend_.require(args);
      if (rows_used.find(std::string(name) + "=") == std::string::npos) rows_used += std::string(" ") + name + "=" + row;
    });
    const auto body = [&] { operations([&](const char*, const auto& args) { run(args); }); };
    const uint64_t key = ++key_;
    for (int i = 0; i < 12; ++i) backend_.runtime().step(key, body);
    backend_.runtime().synchronize();
    const int repeats = query == 1 ? 60 : 12;
    const float ms = median_ms(repeats, [&] { backend_.runtime().step(key, body); });
    const size_t kv_bytes = sequences_ * context * 2 * s_.kv_heads * s_.head_dim * 2 * s_.layers;
    const double bytes = static_cast<double>(bytes_ + (query == 1 ? kv_bytes : 0)),
                 flops = 2.0 * static_cast<double>(weights_) * static_cast<double>(batch_.num_tokens);
    const double limit_ms = bytes / rate * 1e3;
    std::printf("%-26s %8.3f ms (p10 %.3f p90 %.3f)  %8.1f tok/s  %6.2f GB  %7.1f GB/s  %5.1f %% of the read limit %.3f ms", what, ms, low_,
                high_, static_cast<double>(batch_.num_tokens) / ms * 1e3, bytes / 1e9, bytes / ms / 1e6, 100 * limit_ms / ms, limit_ms);
    if (query > 1) std::printf("  %.0f TFLOP/s", flops / ms / 1e9);
    std::printf("\n   rows:%s\n", rows_used.c_str());
    if (!per_kernel) return;
    for (const char* wanted : {"qkv", "attention", "out", "gate_up", "down", "head", "sample"}) {
      int launches = 0;
      double weight_bytes = 0;
      const auto some = [&] {
        launches = 0;
        operations([&](const char* name, const auto& args) {
          if (std::strcmp(name, wanted) == 0) run(args), ++launches;
        });
      };
      const uint64_t one = ++key_;
      for (int i = 0; i < 3; ++i) backend_.runtime().step(one, some);
      const float total = median_ms(query == 1 ? 20 : 6, [&] { backend_.runtime().step(one, some); });
      operations([&](const char* name, const auto& args) {
        if (std::strcmp(name, wanted) == 0) weight_bytes += bytes_of(args);
      });
      if (std::strcmp(wanted, "attention") == 0) weight_bytes = query == 1 ? static_cast<double>(kv_bytes) : 0;
      std::printf("   %-10s %9.2f us each x %2d  %7.1f GB/s  %5.1f %%\n", wanted, total * 1e3 / launches, launches,
                  weight_bytes / total / 1e6, 100 * weight_bytes / rate * 1e3 / total);
    }
  }

 private:
  static constexpr size_t kPage = 16;
  struct Layer {
    const Weight *qkv, *out, *gate_up, *down;
    Tensor norm1, norm2, bias;
  };
  double bytes_of(const QkvArgs& a) { return weight_bytes(*a.w); }
  double bytes_of(const LinearArgs& a) { return weight_bytes(*a.w); }
  double bytes_of(const GateUpArgs& a) { return weight_bytes(*a.w); }
  double bytes_of(const HeadArgs& a) { return weight_bytes(*a.w); }
  double bytes_of(const SampleArgs& a) { return static_cast<double>(a.logits.bytes()); }
  double bytes_of(const AttentionArgs&) { return 0; }
  double bytes_of(const EmbedArgs&) { return 0; }
  static double weight_bytes(const Weight& w) {
    double bytes = 0;
    if (w.layout == kGranules) return static_cast<double>(granules_bytes(w.parts));
    for (const Tensor& part : w.parts) bytes += static_cast<double>(part.bytes());
    return bytes;
  }

  std::byte* allocate(size_t bytes) {
    kept_.push_back(backend_.runtime().allocate(bytes));
    return kept_.back().data();
  }
  Tensor tensor(Shape shape, Format format) {
    return {allocate(shape.rows() * row_bytes(format, shape.columns())), shape, format, backend_.info().device, kCanonical};
  }
  Tensor halves(Shape shape, float scale) {
    const Tensor t = tensor(shape, Format::f16);
    fill_halves<<<2048, 256, 0, stream()>>>(reinterpret_cast<uint16_t*>(t.data), shape.rows() * shape.columns(), scale, ++seed_);
    return t;
  }
  Tensor floats(Shape shape, float mean, float scale) {
    const Tensor t = tensor(shape, Format::f32);
    fill_floats<<<512, 256, 0, stream()>>>(reinterpret_cast<float*>(t.data), shape.rows() * shape.columns(), mean, scale, ++seed_);
    return t;
  }
  template <class T>
  const T* upload(const std::vector<T>& values) {
    std::byte* data = allocate(values.size() * sizeof(T));
    backend_.runtime().upload(data, values.data(), values.size() * sizeof(T));
    return reinterpret_cast<const T*>(data);
  }
  const Weight* weight(WeightUse use, std::vector<size_t> rows, size_t columns, Format format, float scale) {
    auto* w = new Weight{use, {}};
    for (const size_t r : rows) {
      w->parts.push_back({nullptr, {r, columns}, format, backend_.info().device, kCanonical});
      weights_ += r * columns;
    }
    if (format == Format::f16) {
      size_t total = 0;
      for (const size_t r : rows) total += r;
      std::byte* data = halves({total, columns}, scale).data;
      for (Tensor& part : w->parts) part.data = data, data += part.bytes();
      bytes_ += total * columns * 2;
      return w;
    }
    const size_t bytes = granules_bytes(w->parts);
    place_granules(*w, allocate(bytes));
    fill_words<<<2048, 256, 0, stream()>>>(reinterpret_cast<uint32_t*>(w->packed), bytes / 4, ++seed_);
    for (size_t i = 0; i < w->parts.size(); ++i) {
      const GranulePart part = granule_part(*w, i);
      const size_t count = part.format.group == 0 ? rows[i] : rows[i] * (columns / static_cast<size_t>(part.format.group));
      // Codes are uniform: their rms is 4.6 (4 bits) or 74 (8 bits).
      fill_scales<<<512, 256, 0, stream()>>>(const_cast<std::byte*>(part.scales), count,
                                             part.format.group == 0  ? 0
                                             : part.format.has_zeros ? 2
                                                                     : 1,
                                             scale / (part.format.bits == 4 ? 4.6F : 74.F));
    }
    bytes_ += bytes;
    return w;
  }

  const Shape7b s_;
  Backend backend_;
  size_t sequences_, context_;
  Timer timer_;
  std::vector<Storage> kept_;
  std::vector<Layer> layers_;
  const Weight *head_ = nullptr, *embed_ = nullptr;
  std::vector<std::byte*> kv_;
  Tensor h_, q_, y_, gate_, logits_, cos_sin_, ids_, norm_;
  const SampleRow* sample_rows_ = nullptr;
  BatchView batch_;
  int32_t num_blocks_ = 0;
  size_t bytes_ = 0, head_bytes_ = 0, weights_ = 0, kv_layer_bytes_ = 0;
  uint64_t seed_ = 1, key_ = 0;
  float low_ = 0, high_ = 0;
};

void bench(const Shape7b& shape, const char* dtype, Format format, size_t batch, size_t context, size_t prefill, bool per_kernel) {
  Bench bench(shape, format, Format::f16, std::max<size_t>(prefill, batch), batch, std::max(context, prefill) + 16);
  const double rate = bench.read_rate();
  std::printf("%s %s batch %zu: read rate %.3f TB/s\n", shape.name, dtype, batch, rate / 1e12);
  if (context > 0) bench.report(fmt::format("decode {} b{} ctx{}", dtype, batch, context).c_str(), 1, context, rate, per_kernel);
  if (prefill > 0) bench.report(fmt::format("prefill {} {}", dtype, prefill).c_str(), prefill, prefill, rate, per_kernel);
  std::fflush(stdout);
}

}  // namespace
}  // namespace quern::cuda

// cuda_bench [SHAPE:DTYPE:BATCH:CONTEXT:PREFILL[:k]]...; k: a line a kernel.
int main(int argc, char** argv) {
  using namespace quern;
  if (num_cuda_devices() == 0) {
    std::printf("skipped: no GPU\n");
    return 77;
  }
  for (int i = 1; i < argc; ++i) {
    char shape[32] = {}, dtype[16] = {}, flag[4] = {};
    size_t batch = 1, context = 0, prefill = 0;
    if (std::sscanf(argv[i], "%31[^:]:%15[^:]:%zu:%zu:%zu:%3s", shape, dtype, &batch, &context, &prefill, flag) < 5) {
      std::fprintf(stderr, "%s: want SHAPE:DTYPE:BATCH:CONTEXT:PREFILL[:k]\n", argv[i]);
      return 2;
    }
    const auto* found = std::ranges::find_if(cuda::kShapes, [&](const cuda::Shape7b& s) { return std::strcmp(s.name, shape) == 0; });
    const auto format = find_format(dtype);
    if (found == std::end(cuda::kShapes) || !format) {
      std::fprintf(stderr, "%s: no such shape or dtype\n", argv[i]);
      return 2;
    }
    try {
      cuda::bench(*found, dtype, *format, batch, context, prefill, flag[0] == 'k');
    } catch (const Error& error) {
      std::printf("ERROR %s\n", error.what());
      return 1;
    }
  }
  return 0;
}
