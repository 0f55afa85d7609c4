// What the conformance tests of CPU rows share: random matrices, references in double precision, and a device with a workspace.
// Included by tests only.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "backend/cpu/panel_product.h"
#include "backend/device_runtime.h"
#include "base/float16.h"

namespace quern::cpu {

// Memory of a test, 64-byte aligned.
inline Storage host_bytes(size_t bytes) {
  auto* data = static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 127) / 64 * 64));
  return Storage(data, bytes, Device{}, [](std::byte* p) { std::free(p); });
}

// A tensor with its memory.
struct Owned {
  Storage storage;
  Tensor tensor;
  Owned() = default;
  Owned(Shape shape, Format format) {
    tensor.shape = shape;
    tensor.format = format;
    storage = host_bytes(tensor.bytes());
    tensor.data = storage.data();
  }
  float* f32(size_t row = 0) const { return tensor.f32(row); }
  size_t count() const { return tensor.rows() * tensor.columns(); }
  void poison() const { std::fill_n(f32(), count(), std::nanf("")); }
};

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  float normal(float deviation = 1) { return std::normal_distribution<float>(0, deviation)(engine_); }
  size_t below(size_t count) { return std::uniform_int_distribution<size_t>(0, count - 1)(engine_); }

  Owned floats(Shape shape, float deviation = 1, float mean = 0) {
    Owned t(shape, Format::f32);
    for (size_t i = 0; i < t.count(); ++i) t.f32()[i] = mean + normal(deviation);
    return t;
  }
  Owned weights(size_t rows, size_t columns, Format format) {
    Owned t({rows, columns}, format);
    std::vector<float> values(columns);
    for (size_t r = 0; r < rows; ++r) {
      for (float& v : values) v = normal(0.05F);
      format_info(format).pack(values.data(), columns, t.tensor.data + r * t.tensor.row_bytes());
    }
    return t;
  }

 private:
  std::mt19937_64 engine_;
};

inline std::vector<float> unpacked(const Tensor& t) {
  std::vector<float> values(t.rows() * t.columns());
  for (size_t r = 0; r < t.rows(); ++r)
    format_info(t.format).unpack(t.data + r * t.row_bytes(), t.columns(), values.data() + r * t.columns());
  return values;
}

inline bool is_float(Format f) {
  return f == Format::f32 || f == Format::f16 || f == Format::bf16 || f == Format::f8g32 || f == Format::f8g128;
}

// How a row of kernels sums: all rows of one arithmetic give the same bits.
inline std::string arithmetic_of(const Weight& w, std::string_view row) {
  return w.layout == kCanonical       ? "canonical"
         : row.ends_with("_amx_bf16") ? "tiles of bf16"
         : row.ends_with("_bf16")     ? "panels of bf16"
                                      : "panels";
}

// Row `x` as it is multiplied with weights of `format`: in panels integer formats see it rounded to 8 bits in groups of 32, and groups of
// large values to 8 bits more.
inline std::vector<float> as_multiplied(const float* x, size_t count, Format format, const std::string& arithmetic) {
  std::vector<float> seen(x, x + count);
  if (arithmetic == "canonical") return seen;
  if (arithmetic.ends_with(" of bf16")) {
    for (float& value : seen) value = bf16_to_f32(f32_to_bf16(value));
    return seen;
  }
  if (is_float(format)) return seen;
  double squares = 0;
  for (size_t i = 0; i < count; ++i) squares += static_cast<double>(x[i]) * x[i];
  const size_t whole_groups = (count + kGroup - 1) / kGroup * kGroup;
  const double limit = kRemainderAbove * std::sqrt(squares / static_cast<double>(whole_groups));
  for (size_t begin = 0; begin < count; begin += kGroup) {
    const size_t end = std::min(count, begin + kGroup);
    float most = 0;
    for (size_t i = begin; i < end; ++i) most = std::max(most, std::fabs(x[i]));
    const float scale = most / 127.F, inverse = scale > 0x1p-120F ? 1.F / scale : 0.F;
    for (size_t i = begin; i < end; ++i) {
      const float steps = x[i] * inverse, whole = std::nearbyint(steps);
      seen[i] = whole * scale;
      if (most > limit) seen[i] += std::nearbyint((steps - whole) * 254.F) * (scale / 254.F);
    }
  }
  return seen;
}

// A product in double precision and what its rounding in float may amount to.
struct Exact {
  double value = 0, tolerance = 0;
};

// x . w for each output row of `weights` ([rows, columns] unpacked). Tolerance: a product of f32 x and an unpacked weight is exact in
// double; the kernels add at most count + 16 terms (fewer for integer groups), each with one rounding of a partial sum that is at most
// the sum of absolute products. Formats with an offset sum scale * code and the offset apart: each is at most twice the width of the
// group's values, so |w| is replaced by 8 * the largest |w| of its group of 32.
inline std::vector<Exact> exact_products(const std::vector<float>& x, const std::vector<float>& weights) {
  const size_t columns = x.size(), rows = weights.size() / columns;
  std::vector<Exact> out(rows);
  for (size_t n = 0; n < rows; ++n) {
    const float* w = weights.data() + n * columns;
    double magnitude = 0;
    for (size_t begin = 0; begin < columns; begin += kGroup) {
      const size_t end = std::min(columns, begin + kGroup);
      float most = 0;
      double sum = 0;
      for (size_t k = begin; k < end; ++k) {
        out[n].value += static_cast<double>(x[k]) * w[k];
        most = std::max(most, std::fabs(w[k]));
        sum += std::fabs(x[k]);
      }
      magnitude += sum * most * 8;
    }
    out[n].tolerance = static_cast<double>(columns + 16) * 0x1p-24 * magnitude;
  }
  return out;
}

// rmsnorm in double.
inline std::vector<double> exact_norm(const float* x, const float* norm, double epsilon, size_t count) {
  double squares = 0;
  for (size_t i = 0; i < count; ++i) squares += static_cast<double>(x[i]) * x[i];
  const double factor = 1 / std::sqrt(squares / static_cast<double>(count) + epsilon);
  std::vector<double> y(count);
  for (size_t i = 0; i < count; ++i) y[i] = x[i] * factor * norm[i];
  return y;
}

struct LayoutWeight {
  Weight weight;
  Storage storage;
};

// A CPU device of `threads` threads with room for whatever a row asks for.
class TestDevice {
 public:
  explicit TestDevice(size_t threads) : runtime_(open_cpu({.num_threads = threads})) {}
  const DeviceInfo& info() const { return runtime_->info(); }
  const DeviceTables& tables() const { return runtime_->tables(); }

  template <class Args>
  void run(const KernelRow<Args>& row, const Args& args) {
    const size_t bytes = row.workspace_bytes == nullptr ? 0 : row.workspace_bytes(args, info());
    const Storage workspace = host_bytes(bytes);
    std::memset(workspace.data(), 0xff, bytes);  // NaNs
    Stream& stream = runtime_->stream();
    stream.workspace = workspace.data();
    stream.workspace_bytes = bytes;
    row.run(args, stream);
  }

  // x . w by the first row of this arithmetic: what linear_test.cpp has shown to be right.
  Owned multiply(const Tensor& x, const Tensor& w, const std::string& arithmetic) {
    Owned y({x.rows(), w.rows()}, Format::f32);
    for (const LayoutWeight& loaded : layouts(WeightUse::down, {w})) {
      const LinearArgs args{.x = x, .w = &loaded.weight, .y = y.tensor};
      for (const auto& row : tables().linear) {
        if (arithmetic_of(loaded.weight, row.name) != arithmetic || !row.supports(args, info())) continue;
        run(row, args);
        return y;
      }
    }
    ADD_FAILURE() << "no row for " << arithmetic;
    return y;
  }

  // rmsnorm(h) by the first row of head that takes `layout`, through a product with the identity, which is exact. norm_test.cpp proves it.
  Owned normalized(const Tensor& h, const Tensor& norm, float epsilon, LayoutId layout) {
    const size_t rows = h.rows(), columns = h.columns();
    const Owned identity({columns, columns}, Format::f32);
    std::fill_n(identity.f32(), identity.count(), 0.F);
    for (size_t i = 0; i < columns; ++i) identity.f32(i)[i] = 1;
    std::vector<int32_t> all(rows);
    for (size_t i = 0; i < rows; ++i) all[i] = static_cast<int32_t>(i);
    Owned y({rows, columns}, Format::f32);
    for (const LayoutWeight& loaded : layouts(WeightUse::head, {identity.tensor})) {
      if (loaded.weight.layout != layout) continue;
      HeadArgs args{.h = h, .norm = norm, .norm_epsilon = epsilon, .w = &loaded.weight, .logits = y.tensor};
      args.batch.num_tokens = args.batch.num_sample_rows = static_cast<int32_t>(rows);
      args.batch.sample_rows = all.data();
      for (const auto& row : tables().head) {
        if (!row.supports(args, info())) continue;
        run(row, args);
        return y;
      }
    }
    ADD_FAILURE() << "no row for layout " << layout;
    return y;
  }

  // `parts` as a weight in every layout that takes them, the canonical one first.
  std::vector<LayoutWeight> layouts(WeightUse use, const std::vector<Tensor>& parts) {
    const WeightSource source{use, parts};
    std::vector<LayoutWeight> all(1);
    all[0].weight.use = use;
    all[0].weight.parts = parts;
    for (const WeightLayout& layout : tables().layouts) {
      if (!layout.supports(source, info())) continue;
      LayoutWeight loaded;
      loaded.weight = all[0].weight;
      loaded.storage = host_bytes(layout.bytes(source));
      loaded.weight.layout = layout.id;
      layout.pack(source, loaded.weight, loaded.storage.data(), runtime_->stream());
      all.push_back(std::move(loaded));
    }
    return all;
  }

 private:
  std::unique_ptr<DeviceRuntime> runtime_;
};

inline constexpr size_t kRowCounts[] = {1, 2, 3, 4, 5, 7, 8, 12, 13, 14, 15, 16, 17, 29, 33, 64, 127, 128, 129};
inline constexpr size_t kMostRows = 129;

inline std::vector<float> copy_of(const Owned& t) { return {t.f32(), t.f32() + t.count()}; }

// The first `count` floats are the same bits.
inline bool same_bits(const float* a, const float* b, size_t count) { return std::memcmp(a, b, count * sizeof(float)) == 0; }

}  // namespace quern::cpu
