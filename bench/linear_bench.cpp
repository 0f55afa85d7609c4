// Products of one matrix with M rows. Few rows are bound by reading the weights, many by multiplying: each line has the rate of the
// bound and its share of what the same run measures. Weights rotate over more memory than the caches hold.
#include "bench_device.h"

namespace quern {
namespace {

constexpr size_t kRotateBytes = size_t{192} << 20;

struct Case {
  Format format;
  size_t rows, in, out;
};

// Loaded copies of one matrix, kept for the cases that follow with the same one.
struct Weights {
  Format format{};
  size_t in = 0, out = 0;
  std::vector<LoadedWeight> copies;
};

Weights& weights_of(const Case& c) {
  static Weights w;
  if (w.format == c.format && w.in == c.in && w.out == c.out) return w;
  w = Weights{c.format, c.in, c.out, {}};
  const BenchTensor source = bench_weights(c.out, c.in, c.format, 1);
  const size_t count = std::max<size_t>(1, kRotateBytes / source.tensor.bytes());
  for (size_t i = 0; i < count; ++i) w.copies.push_back(bench_backend().load_weight({WeightUse::down, {&source.tensor, 1}}));
  return w;
}

void run(benchmark::State& state, Case c) {
  Backend& backend = bench_backend();
  Weights& w = weights_of(c);
  const BenchTensor x = bench_floats({c.rows, c.in}, 2), y = bench_floats({c.rows, c.out}, 3);
  LinearArgs args{.x = x.tensor, .w = &w.copies[0].weight, .y = y.tensor};
  const char* row = backend.require(args);
  size_t next = 0;
  for (auto _ : state) {
    args.w = &w.copies[next++ % w.copies.size()].weight;
    backend.linear(args);
  }
  const auto per_second = [&](double count) { return benchmark::Counter(count, benchmark::Counter::kIsIterationInvariantRate); };
  const double bytes = static_cast<double>(w.copies[0].weight.parts[0].bytes()), work = 2.0 * static_cast<double>(c.rows * c.in * c.out);
  state.SetLabel(row);
  if (c.rows <= 32) {
    state.counters["bytes/s"] = per_second(bytes);
    state.counters["of_read"] = per_second(bytes / bench_bandwidth());
  }
  if (c.rows > 1) {
    state.counters["op/s"] = per_second(work);
    state.counters["of_unit"] = per_second(work / bench_operations(c.format).operations);
  }
}

}  // namespace
}  // namespace quern

int main(int argc, char** argv) {
  using namespace quern;
  fmt::print("{}\nreads {:.1f} GB/s, multiplies f32 {:.0f}, bytes {:.0f} Gop/s\n", bench_backend().info().name, bench_bandwidth() / 1e9,
             bench_operations(Format::f32).operations / 1e9, bench_operations(Format::i8).operations / 1e9);
  for (const FormatInfo& format : kFormats) {
    for (const auto& [in, out] : {std::pair<size_t, size_t>{4864, 896}, {3584, 4864}}) {
      if (in % format.block_values != 0) continue;
      for (const size_t rows : {1, 8, 32, 512}) {
        benchmark::RegisterBenchmark(fmt::format("linear/{}/{}x{}x{}", format.name, rows, in, out).c_str(), run,
                                     Case{format.format, rows, in, out})
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
