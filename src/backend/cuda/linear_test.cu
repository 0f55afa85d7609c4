// linear, gate_up, head, embed and qkv against double precision.
//
// Tolerances. Weights and x of `linear` are exact. A sum of K products in f32, matrix instructions included, errs by at most
// K * 2^-23 of the sum of absolute products (they cut instead of rounding). Rows other than the generic ones round the normed input to
// f16: each product then errs by at most 2^-11 of itself, uniformly, which sums to less than 6 * 2^-11 / sqrt(3) * sqrt(sum of squares)
// with a chance of 1 in 10^9 of being wrong; rows that turn integer codes into f16 weights err as much again. An output in f16 is rounded
// by 2^-11 of itself.
#include <algorithm>

#include "backend/cuda/conformance_test.h"
#include "backend/cuda/expand.h"

namespace quern::cuda_test {
namespace {

constexpr double kHalf = 0x1p-11;
const double kSpread = 6 / std::sqrt(3.0);

bool contains(const char* name, const char* part) { return std::strstr(name, part) != nullptr; }
double output_rounding(Format format, double value) { return format == Format::f32 ? 0 : kHalf * std::abs(value) + 0x1p-25; }

// Exact products of rows of x with a stack of weight parts, and what bounds their errors.
struct Products {
  std::vector<double> sum, absolute, squares;
  size_t features = 0;
  double columns = 0;

  double at(size_t m, size_t n) const { return sum[m * features + n]; }
  // The error of product (m, n) as `row` computes it; `normed`: its x is a normed row.
  double tolerance(const char* row, bool normed, size_t m, size_t n) const {
    const size_t i = m * features + n;
    double bound = columns * 0x1p-23 * absolute[i];
    const double roundings = contains(row, "generic") ? 0 : (normed ? 1 : 0) + (contains(row, "cublaslt") ? 1 : 0);
    bound += kSpread * kHalf * std::sqrt(roundings * squares[i]);
    if (contains(row, "cublaslt")) bound += kHalf * std::abs(sum[i]) + 0x1p-24;  // its products leave in f16
    return bound + (normed ? 0x1p-20 * absolute[i] : 0);
  }
};

Products multiply(const std::vector<std::vector<double>>& x, const std::vector<HostTensor>& parts) {
  Products p;
  for (const HostTensor& part : parts) p.features += part.shape.rows();
  p.columns = static_cast<double>(parts[0].shape.columns());
  for (std::vector<double>* const values : {&p.sum, &p.absolute, &p.squares}) values->resize(x.size() * p.features);
  on_every_core(p.features, [&](size_t begin, size_t end) {
    std::vector<double> w(parts[0].shape.columns());
    for (size_t feature = begin; feature < end; ++feature) {
      size_t part = 0, n = feature;
      while (n >= parts[part].shape.rows()) n -= parts[part++].shape.rows();
      const float* const row = parts[part].values.data() + n * w.size();
      std::copy(row, row + w.size(), w.begin());
      for (size_t m = 0; m < x.size(); ++m) {
        double sum[4] = {}, absolute[4] = {}, squares[4] = {};  // four chains each, so that they overlap
        for (size_t k = 0; k < w.size(); ++k) {
          const double product = x[m][k] * w[k];
          sum[k % 4] += product, absolute[k % 4] += std::abs(product), squares[k % 4] += product * product;
        }
        const auto total = [](const double* s) { return (s[0] + s[1]) + (s[2] + s[3]); };
        const size_t at = m * p.features + feature;
        p.sum[at] = total(sum), p.absolute[at] = total(absolute), p.squares[at] = total(squares);
      }
    }
  });
  return p;
}

std::vector<double> plain(const HostTensor& t, size_t row) {
  return std::vector<double>(t.values.begin() + static_cast<ptrdiff_t>(row * t.shape.columns()),
                             t.values.begin() + static_cast<ptrdiff_t>((row + 1) * t.shape.columns()));
}
std::vector<double> normed(const std::vector<double>& x, const float* weight, double epsilon) {
  double squares = 0;
  for (const double v : x) squares += v * v;
  const double factor = 1 / std::sqrt(squares / static_cast<double>(x.size()) + epsilon);
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * factor * weight[i];
  return y;
}
std::vector<std::vector<double>> normed_rows(const HostTensor& h, const HostTensor& norm, double epsilon) {
  std::vector<std::vector<double>> rows;
  for (size_t m = 0; m < h.shape.rows(); ++m) rows.push_back(normed(plain(h, m), norm.values.data(), epsilon));
  return rows;
}

constexpr float kEpsilon = 1e-6F;
double silu(double x) { return x / (1 + std::exp(-x)); }

std::vector<Format> all_formats() {
  std::vector<Format> formats;
  for (const FormatInfo& info : kFormats) formats.push_back(info.format);
  return formats;
}

struct LinearCase {
  std::vector<size_t> tokens;
  size_t columns, features;
};
enum class Extras { none, all, for_even_tokens };  // bias and residual

// One weight with each number of tokens, by every row that takes it.
void check_linear(TestDevice& device, Format format, const LinearCase& c, Format x_format, Extras when, Rng& rng) {
  if (c.columns % format_info(format).block_values != 0) return;
  const size_t most = *std::ranges::max_element(c.tokens);
  std::vector<HostTensor> parts = {random_tensor({c.features, c.columns}, format, rng, 0.05F)};
  HostTensor x = random_tensor({most, c.columns}, x_format, rng), bias = random_tensor({c.features}, Format::f32, rng);
  HostTensor residual = random_tensor({most, c.features}, Format::f32, rng);
  std::vector<std::vector<double>> rows;
  for (size_t m = 0; m < most; ++m) rows.push_back(plain(x, m));
  const Products want = multiply(rows, parts);
  LinearArgs args = {.x = device.upload(x), .y = device.allocate({most, c.features}, Format::f32)};
  const Tensor uploaded_bias = device.upload(bias);
  for (const bool is_private : {false, true}) {
    args.w = device.load(WeightUse::down, parts, is_private);
    for (const size_t tokens : c.tokens) {
      const bool extras = when == Extras::all || (when == Extras::for_even_tokens && tokens % 2 == 0);
      args.x.shape = {tokens, c.columns};
      args.y.shape = {tokens, c.features};
      args.bias = extras ? uploaded_bias : Tensor{};
      for (const KernelRow<LinearArgs>& row : device.tables().linear) {
        args.residual = extras ? args.y : Tensor{};  // y itself, as in a model
        if (!row.supports(args, device.backend().info())) continue;
        if (extras) {
          device.runtime().upload(args.y.data, residual.bytes.data(), args.y.bytes());
        } else {
          device.poison(args.y);
        }
        device.run(row, args);
        expect_close(
            fmt::format("{} {} {}x{}x{} x {} layout {}", row.name, format_name(format), tokens, c.columns, c.features,
                        format_name(x_format), args.w->layout),
            device.download(args.y),
            [&](size_t i) { return want.sum[i] + (extras ? double{residual.values[i]} + bias.values[i % c.features] : 0); },
            [&](size_t i) {
              return want.tolerance(row.name, false, i / c.features, i % c.features) + (extras ? 0x1p-22 * (std::abs(want.sum[i]) + 8) : 0);
            });
      }
    }
  }
  device.clear();
}

}  // namespace

void test_linear(TestDevice& device) {
  Rng rng(1);
  for (const Format format : all_formats()) {  // every format, on shapes that suit the fast rows and on odd ones
    check_linear(device, format, {{3}, 512, 48}, Format::f16, Extras::all, rng);
    check_linear(device, format, {{2}, 256, 21}, Format::f32, Extras::none, rng);
    check_linear(device, format, {{1}, 172, 5}, Format::f32, Extras::all, rng);
  }
  std::vector<size_t> tokens = {1, 2, 7, 8, 9, 17, 33, 64, 65};
  if (!device.is_small()) tokens.insert(tokens.end(), {127, 128, 129, 400});
  for (const Format format : {Format::f16, Format::bf16, Format::i8, Format::i8g64, Format::i4g128, Format::i4g32z, Format::i4g64}) {
    check_linear(device, format, {tokens, 1408, 160}, Format::f16, Extras::for_even_tokens, rng);
  }
  if (device.is_small()) return;
  const std::vector<size_t> few = {1, 4, 8, 20, 64, 100};
  for (const Format format : {Format::f16, Format::bf16, Format::i8, Format::i8g32, Format::i4g128, Format::i4g128z, Format::i4g32}) {
    check_linear(device, format, {few, 4096, 4096 + 16}, Format::f16, Extras::all, rng);
    check_linear(device, format, {few, 11008, 272}, Format::f16, Extras::all, rng);
    check_linear(device, format, {few, 896, 1152}, Format::f16, Extras::none, rng);
  }
}

void test_embed(TestDevice& device) {
  Rng rng(2);
  for (const Format format : all_formats()) {
    const TestBatch batch = make_batch(device, {{1, 3}, {1, 5}, {9, 20}}, 16, 128, rng);
    for (const WeightUse use : {WeightUse::embed, WeightUse::head}) {  // a tied table is arranged for the head
      std::vector<HostTensor> parts = {random_tensor({128, 256}, format, rng)};
      const EmbedArgs args = {device.load(use, parts, true), batch.device,
                              device.allocate({static_cast<size_t>(batch.host.num_tokens), 256}, Format::f32)};
      for (const KernelRow<EmbedArgs>& row : device.tables().embed) {
        device.poison(args.h);
        if (!row.supports(args, device.backend().info())) continue;
        device.run(row, args);
        const auto want = [&](size_t i) { return parts[0].at(static_cast<size_t>(batch.token_ids[i / 256]), i % 256); };
        // A look-up is exact; bf16 rows that became f16 may lose what lies 2^-39 below the largest, scales are applied in f32.
        expect_close(fmt::format("{} {} layout {}", row.name, format_name(format), args.table->layout), device.download(args.h), want,
                     [&](size_t i) { return args.table->layout == kCanonical ? 0 : 0x1p-36 + 0x1p-23 * std::abs(want(i)); });
      }
    }
    device.clear();
  }
}

// Weights as f16: each is the value that its format means, rounded once.
void test_expand(TestDevice& device) {
  Rng rng(9);
  for (const Format format : all_formats()) {
    for (const bool is_private : {false, true}) {
      std::vector<HostTensor> parts = {random_tensor({32, 512}, format, rng), random_tensor({48, 512}, format, rng)};
      const Weight* w = device.load(WeightUse::qkv, parts, is_private);
      const Tensor out = device.allocate({24, 512}, Format::f16);
      cuda::launch_expand(*w, 1, 16, 24, reinterpret_cast<uint16_t*>(out.data), cuda::cuda_stream(device.runtime().stream()));
      expect_close(
          fmt::format("expand {} layout {}", format_name(format), w->layout), device.download(out),
          [&](size_t i) { return parts[1].at(16 + i / 512, i % 512); },
          [&](size_t i) { return (kHalf + 0x1p-22) * std::abs(parts[1].at(16 + i / 512, i % 512)) + 0x1p-25; });
    }
    device.clear();
  }
}

void test_gate_up(TestDevice& device) {
  Rng rng(3);
  struct Case {
    size_t tokens, hidden, intermediate;
  };
  std::vector<Case> cases = {{1, 256, 64}, {3, 172, 20}, {8, 640, 80}, {9, 256, 48}, {33, 384, 64}};
  if (!device.is_small()) cases.insert(cases.end(), {{1, 4096, 11008}, {64, 896, 4864}, {128, 1024, 512}, {300, 1024, 1024}});
  for (const Case& c : cases) {
    for (const Format format :
         {Format::f32, Format::f16, Format::bf16, Format::i8, Format::i8g32, Format::i4g128, Format::i4g64z, Format::q4_k}) {
      if (c.hidden % format_info(format).block_values != 0) continue;
      std::vector<HostTensor> parts;
      for (int i = 0; i < 2; ++i)
        parts.push_back(random_tensor({c.intermediate, c.hidden}, format, rng, 1.5F / std::sqrt(static_cast<float>(c.hidden))));
      HostTensor h = random_tensor({c.tokens, c.hidden}, Format::f32, rng, 2), norm = random_tensor({c.hidden}, Format::f32, rng, 0.1F, 1);
      const Products want = multiply(normed_rows(h, norm, kEpsilon), parts);
      for (const Format y_format : {Format::f32, Format::f16}) {
        const GateUpArgs args = {device.upload(h), device.upload(norm), kEpsilon, device.load(WeightUse::gate_up, parts, true),
                                 device.allocate({c.tokens, c.intermediate}, y_format)};
        const auto gate = [&](size_t i) { return want.at(i / c.intermediate, i % c.intermediate); };
        const auto up = [&](size_t i) { return want.at(i / c.intermediate, i % c.intermediate + c.intermediate); };
        for (const KernelRow<GateUpArgs>& row : device.tables().gate_up) {
          device.poison(args.y);
          if (!row.supports(args, device.backend().info())) continue;
          device.run(row, args);
          expect_close(
              fmt::format("{} {} {}x{}x{} y {}", row.name, format_name(format), c.tokens, c.hidden, c.intermediate, format_name(y_format)),
              device.download(args.y), [&](size_t i) { return silu(gate(i)) * up(i); },
              [&](size_t i) {  // the slope of silu is at most 1.1
                const size_t m = i / c.intermediate, n = i % c.intermediate;
                const double g = want.tolerance(row.name, true, m, n), u = want.tolerance(row.name, true, m, n + c.intermediate);
                return 1.1 * g * (std::abs(up(i)) + u) + std::abs(silu(gate(i))) * u + 0x1p-20 * std::abs(silu(gate(i)) * up(i)) +
                       output_rounding(y_format, silu(gate(i)) * up(i));
              });
        }
      }
      device.clear();
    }
  }
}

void test_head(TestDevice& device) {
  Rng rng(4);
  std::vector<size_t> vocabs = {160, 131};
  if (!device.is_small()) vocabs.insert(vocabs.end(), {151936, 32000});
  for (const size_t vocab : vocabs) {
    for (const Format format : {Format::f32, Format::f16, Format::bf16, Format::i8, Format::i4g128, Format::q6_k}) {
      if (vocab > 1000 && format != Format::f16 && format != Format::i4g128) continue;
      const TestBatch batch = make_batch(device, {{1, 3}, {1, 5}, {4, 20}, {2, 9}}, 16, 100, rng);
      std::vector<HostTensor> parts = {random_tensor({vocab, 256}, format, rng, 0.06F)};
      HostTensor h = random_tensor({static_cast<size_t>(batch.host.num_tokens), 256}, Format::f32, rng, 3),
                 norm = random_tensor({256}, Format::f32, rng, 0.1F, 1);
      std::vector<std::vector<double>> rows;
      for (const int32_t row : batch.sample_rows) rows.push_back(normed(plain(h, static_cast<size_t>(row)), norm.values.data(), kEpsilon));
      const Products want = multiply(rows, parts);
      const HeadArgs args = {device.upload(h),
                             batch.device,
                             device.upload(norm),
                             kEpsilon,
                             device.load(WeightUse::head, parts, true),
                             device.allocate({rows.size(), vocab}, Format::f32)};
      for (const KernelRow<HeadArgs>& row : device.tables().head) {
        device.poison(args.logits);
        if (!row.supports(args, device.backend().info())) continue;
        device.run(row, args);
        expect_close(
            fmt::format("{} {} vocab {}", row.name, format_name(format), vocab), device.download(args.logits),
            [&](size_t i) { return want.sum[i]; }, [&](size_t i) { return want.tolerance(row.name, true, i / vocab, i % vocab); });
      }
      device.clear();
    }
  }
}

void test_qkv(TestDevice& device) {
  Rng rng(5);
  struct Case {
    std::vector<SequenceShape> sequences;
    size_t hidden, heads, kv_heads, head_dim;
    bool bias, norms, scales;
  };
  std::vector<Case> cases = {{{{1, 1}, {1, 16}, {1, 17}}, 256, 4, 2, 64, true, false, false},
                             {{{1, 33}, {5, 40}, {3, 3}}, 256, 2, 1, 128, true, false, true},
                             {{{1, 5}, {2, 18}}, 128, 3, 1, 64, false, true, false},
                             {{{1, 7}}, 172, 6, 2, 8, true, true, true}};
  if (!device.is_small()) {
    cases.push_back({{{1, 1000}, {1, 31}}, 4096, 32, 32, 128, true, false, true});
    cases.push_back({{{1, 100}, {1, 31}, {70, 90}, {129, 129}}, 896, 14, 2, 64, true, false, false});
    cases.push_back({{{1, 100}, {30, 31}}, 1024, 16, 8, 128, false, true, false});
  }
  for (const Case& c : cases) {
    for (const Format format : {Format::f32, Format::f16, Format::bf16, Format::i8, Format::i4g128, Format::i4g32}) {
      if (c.hidden % format_info(format).block_values != 0) continue;
      const Format kv_format = format == Format::f32 ? Format::f32 : format == Format::bf16 ? Format::bf16 : Format::f16;
      const TestBatch batch = make_batch(device, c.sequences, 16, 100, rng);
      const auto tokens = static_cast<size_t>(batch.host.num_tokens);
      const size_t features = (c.heads + 2 * c.kv_heads) * c.head_dim, half = c.head_dim / 2, max_positions = 1024;
      std::vector<HostTensor> parts;
      for (const size_t heads : {c.heads, c.kv_heads, c.kv_heads}) {
        parts.push_back(random_tensor({heads * c.head_dim, c.hidden}, format, rng, 1 / std::sqrt(static_cast<float>(c.hidden))));
      }
      HostTensor h = random_tensor({tokens, c.hidden}, Format::f32, rng, 2), norm = random_tensor({c.hidden}, Format::f32, rng, 0.1F, 1);
      HostTensor bias = random_tensor({features}, Format::f32, rng), q_norm = random_tensor({c.head_dim}, Format::f32, rng, 0.1F, 1),
                 k_norm = random_tensor({c.head_dim}, Format::f32, rng, 0.1F, 1);
      HostTensor cos_sin = random_tensor({2 * max_positions, c.head_dim}, Format::f32, rng, 0.7F);
      HostTensor scales = random_tensor({max_positions}, Format::f32, rng, 0.1F, 1);
      const Products products = multiply(normed_rows(h, norm, kEpsilon), parts);

      QkvArgs args = {
          .h = device.upload(h), .norm = device.upload(norm), .norm_epsilon = kEpsilon, .w = device.load(WeightUse::qkv, parts, true)};
      if (c.bias) args.bias = device.upload(bias);
      if (c.norms) args.q_norm = device.upload(q_norm), args.k_norm = device.upload(k_norm);
      args.rope = {reinterpret_cast<const float*>(device.upload(cos_sin).data),
                   c.scales ? reinterpret_cast<const float*>(device.upload(scales).data) : nullptr, static_cast<int32_t>(c.head_dim),
                   static_cast<int32_t>(max_positions)};
      args.batch = batch.device;
      const Shape cache = {static_cast<size_t>(batch.num_blocks) * c.kv_heads * 16, c.head_dim};
      const Tensor k = device.allocate(cache, kv_format), v = device.allocate(cache, kv_format);
      args.kv = {k.data, v.data, kv_format, batch.num_blocks, static_cast<int32_t>(c.kv_heads), 16, static_cast<int32_t>(c.head_dim)};
      const Format q_format = format == Format::f32 ? Format::f32 : Format::f16;
      args.q = device.allocate({tokens, c.heads * c.head_dim}, q_format);

      // Value d of head `head` (q heads, k heads, v heads) of a token, and a bound of its error before the last rounding.
      struct Value {
        double value, error;
      };
      const auto value_of = [&](const char* row, size_t token, size_t head, size_t d) -> Value {
        const bool is_v = head >= c.heads + c.kv_heads;
        double squares = 0, head_error = 0;
        for (size_t i = 0; c.norms && !is_v && i < c.head_dim; ++i) {
          const size_t n = head * c.head_dim + i;
          const double v0 = products.at(token, n) + (c.bias ? double{bias.values[n]} : 0);
          squares += v0 * v0, head_error = std::max(head_error, products.tolerance(row, true, token, n));
        }
        const double factor = 1 / std::sqrt(squares / static_cast<double>(c.head_dim) + kEpsilon);
        const auto plain_value = [&](size_t i) -> Value {
          const size_t n = head * c.head_dim + i;
          Value p{products.at(token, n) + (c.bias ? double{bias.values[n]} : 0), products.tolerance(row, true, token, n)};
          p.error += 0x1p-22 * (std::abs(p.value) + 1);
          if (c.norms && !is_v) {
            const double weight = head < c.heads ? q_norm.values[i] : k_norm.values[i];
            p = {p.value * factor * weight, std::abs(weight) * factor * (p.error + std::abs(p.value) * (factor * head_error + 0x1p-21))};
          }
          return p;
        };
        if (is_v) return plain_value(d);
        const size_t i = d % half,
                     row_index = static_cast<size_t>(batch.variants[token]) * max_positions + static_cast<size_t>(batch.positions[token]);
        const double cos = cos_sin.at(row_index, 2 * i), sin = cos_sin.at(row_index, 2 * i + 1);
        const Value low = plain_value(i), high = plain_value(i + half);
        Value r = d < half ? Value{low.value * cos - high.value * sin, 0} : Value{high.value * cos + low.value * sin, 0};
        r.error = std::abs(d < half ? cos : sin) * low.error + std::abs(d < half ? sin : cos) * high.error +
                  0x1p-22 * (std::abs(low.value) + std::abs(high.value)) * 2;
        if (head < c.heads && c.scales) {
          const double scale = scales.values[static_cast<size_t>(batch.positions[token])];
          r.value *= scale, r.error = r.error * std::abs(scale) + 0x1p-22 * std::abs(r.value);
        }
        return r;
      };
      for (const KernelRow<QkvArgs>& row : device.tables().qkv) {
        if (!row.supports(args, device.backend().info())) continue;
        for (const Tensor& out : {args.q, k, v}) device.poison(out);
        device.run(row, args);
        const std::string what =
            fmt::format("{} {} hidden {} heads {}/{} dim {}", row.name, format_name(format), c.hidden, c.heads, c.kv_heads, c.head_dim);
        const size_t q_columns = c.heads * c.head_dim;
        expect_close(
            what + " q", device.download(args.q),
            [&](size_t i) { return value_of(row.name, i / q_columns, i % q_columns / c.head_dim, i % c.head_dim).value; },
            [&](size_t i) {
              const Value r = value_of(row.name, i / q_columns, i % q_columns / c.head_dim, i % c.head_dim);
              return r.error + output_rounding(q_format, r.value);
            });
        for (const bool is_v : {false, true}) {
          const std::vector<float> got = device.download(is_v ? v : k);
          std::vector<float> written;
          std::vector<Value> want;
          size_t poisoned = 0;
          for (size_t token = 0; token < tokens; ++token) {
            for (size_t head = 0; head < c.kv_heads; ++head) {
              const size_t slot = static_cast<size_t>(batch.slots[token]),
                           at = ((slot / 16 * c.kv_heads + head) * 16 + slot % 16) * c.head_dim;
              for (size_t d = 0; d < c.head_dim; ++d) {
                written.push_back(got[at + d]);
                want.push_back(value_of(row.name, token, c.heads + (is_v ? c.kv_heads : 0) + head, d));
              }
            }
          }
          for (const float value : got) poisoned += std::isnan(value) ? 1 : 0;
          const double step = kv_format == Format::bf16 ? 0x1p-8 : kv_format == Format::f16 ? kHalf : 0;
          expect_close(
              what + (is_v ? " v" : " k"), written, [&](size_t i) { return want[i].value; },
              [&](size_t i) { return want[i].error + step * std::abs(want[i].value) + (step > 0 ? 0x1p-25 : 0); });
          expect(poisoned == got.size() - written.size(), what + " writes its slots alone");
        }
      }
      device.clear();
    }
  }
}

// A row's bits are the same alone and in any batch of up to 64: rows of one batch, computed in batches of other sizes.
void test_batch_independence(TestDevice& device) {
  Rng rng(8);
  const size_t hidden = device.is_small() ? 1152 : 4096, features = 192, tokens = 64, wide = device.is_small() ? 1408 : 11008;
  for (const Format format : {Format::f16, Format::bf16, Format::i8, Format::i8g32, Format::i4g128, Format::i4g64z, Format::i4g32}) {
    std::vector<HostTensor> one = {random_tensor({features, wide}, format, rng)};
    std::vector<HostTensor> two = {random_tensor({features, hidden}, format, rng), random_tensor({features, hidden}, format, rng)};
    std::vector<HostTensor> vocab = {random_tensor({features, hidden}, format, rng)};
    HostTensor x = random_tensor({tokens, wide}, Format::f16, rng), h = random_tensor({tokens, hidden}, Format::f32, rng),
               norm = random_tensor({hidden}, Format::f32, rng);
    std::vector<SequenceShape> sequences(tokens, SequenceShape{1, 3});
    const TestBatch batch = make_batch(device, sequences, 16, 100, rng);
    LinearArgs linear = {
        .x = device.upload(x), .w = device.load(WeightUse::down, one, true), .y = device.allocate({tokens, features}, Format::f32)};
    GateUpArgs gate_up = {device.upload(h), device.upload(norm), kEpsilon, device.load(WeightUse::gate_up, two, true),
                          device.allocate({tokens, features}, Format::f16)};
    HeadArgs head = {gate_up.h,
                     batch.device,
                     gate_up.norm,
                     kEpsilon,
                     device.load(WeightUse::head, vocab, true),
                     device.allocate({tokens, features}, Format::f32)};
    const auto run = [&](size_t first, size_t count) {
      const auto part = [&](Tensor t) {
        t.data += first * t.row_bytes();
        t.shape = {count, t.columns()};
        return t;
      };
      LinearArgs l = linear;
      l.x = part(l.x), l.y = part(l.y);
      GateUpArgs g = gate_up;
      g.h = part(g.h), g.y = part(g.y);
      HeadArgs r = head;
      r.batch.sample_rows += first, r.batch.num_sample_rows = static_cast<int32_t>(count), r.logits = part(r.logits);
      device.backend().require(l), device.backend().require(g), device.backend().require(r);
      device.backend().linear(l), device.backend().gate_up(g), device.backend().head(r);
    };
    run(0, tokens);
    const std::vector<float> want[] = {device.download(linear.y), device.download(gate_up.y), device.download(head.logits)};
    for (const size_t size : {1, 3, 8, 9, 17, 40}) {
      for (const Tensor& out : {linear.y, gate_up.y, head.logits}) device.poison(out);
      for (size_t first = 0; first < tokens; first += size) run(first, std::min(size, tokens - first));
      const std::vector<float> got[] = {device.download(linear.y), device.download(gate_up.y), device.download(head.logits)};
      for (size_t i = 0; i < 3; ++i) {
        const char* const names[] = {"linear", "gate_up", "head"};
        expect(std::memcmp(got[i].data(), want[i].data(), want[i].size() * sizeof(float)) == 0,
               fmt::format("{} {}: the same bits in batches of {} and {}", names[i], format_name(format), size, tokens));
      }
    }
    device.clear();
  }
}

}  // namespace quern::cuda_test
