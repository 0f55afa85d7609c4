// Every row of qkv: the products that linear_test.cpp proves, then bias, head norms, rope, query scale and the cache, in double precision.
#include "backend/cpu/kv_codes.h"
#include "backend/cpu/op_fixture.h"

namespace quern::cpu {
namespace {

struct QkvCase {
  const char* name;
  Format q, k, v, kv;
  size_t heads, kv_heads, head_dim, rotary, hidden;
  bool bias, head_norms, query_scale;
};

constexpr QkvCase kCases[] = {
    {"qwen2 mixed k-quants", Format::q5_0, Format::q5_0, Format::i8g32, Format::f16, 14, 2, 64, 64, 96, true, false, false},
    {"qwen3", Format::bf16, Format::bf16, Format::bf16, Format::bf16, 4, 2, 128, 128, 80, false, true, false},
    {"qwen1 logn", Format::f16, Format::f16, Format::f16, Format::f32, 3, 3, 32, 32, 96, true, false, true},
    {"small heads, part of them rotated", Format::f32, Format::f32, Format::f32, Format::f16, 8, 4, 8, 4, 172, false, false, false},
    {"codes in the cache", Format::bf16, Format::bf16, Format::bf16, Format::i8, 4, 2, 64, 64, 96, true, false, false},
    {"float and integer parts", Format::i4g32, Format::f16, Format::i8, Format::f16, 5, 1, 16, 16, 64, true, true, false},
};

constexpr int32_t kBlockTokens = 4, kBlocks = 40, kMaxPositions = 300, kVariants = 2;
constexpr float kEpsilon = 1e-5F;

struct Data {
  Owned h, norm, bias, q_norm, k_norm, q, k, v, rope, scales;
  std::vector<int32_t> positions, slots, variants;
};

Data make_data(const QkvCase& c, size_t tokens) {
  Random random(11);
  const size_t out = (c.heads + 2 * c.kv_heads) * c.head_dim;
  Data d{random.floats({tokens, c.hidden}, 2),
         random.floats({c.hidden}, 0.2F, 1),
         random.floats({out}),
         random.floats({c.head_dim}, 0.2F, 1),
         random.floats({c.head_dim}, 0.2F, 1),
         random.weights(c.heads * c.head_dim, c.hidden, c.q),
         random.weights(c.kv_heads * c.head_dim, c.hidden, c.k),
         random.weights(c.kv_heads * c.head_dim, c.hidden, c.v),
         random.floats({kVariants, kMaxPositions, c.rotary / 2, 2}),
         random.floats({kMaxPositions}, 0.1F, 1),
         {},
         {},
         {}};
  for (size_t i = 0; i < tokens; ++i) {
    d.positions.push_back(static_cast<int32_t>(random.below(kMaxPositions)));
    d.slots.push_back(static_cast<int32_t>(i * 37 % (kBlocks * kBlockTokens)));  // 37 and 160 share no factor: no slot twice
    d.variants.push_back(static_cast<int32_t>(random.below(kVariants)));
  }
  return d;
}

// A row's q, and the k and v that go to the cache, in double.
struct Row {
  std::vector<double> q, k, v;
};

Row finish(const QkvCase& c, const Data& d, size_t token, const float* q, const float* k, const float* v) {
  Row row;
  row.q.assign(q, q + c.heads * c.head_dim);
  row.k.assign(k, k + c.kv_heads * c.head_dim);
  row.v.assign(v, v + c.kv_heads * c.head_dim);
  size_t i = 0;
  for (auto* part : {&row.q, &row.k, &row.v}) {
    for (double& value : *part) value += c.bias ? d.bias.f32()[i++] : 0;
  }
  const auto position = static_cast<size_t>(d.positions[token]);
  for (auto* part : {&row.q, &row.k}) {
    for (size_t head = 0; head < part->size() / c.head_dim; ++head) {
      double* x = part->data() + head * c.head_dim;
      if (c.head_norms) {
        double squares = 0;
        for (size_t j = 0; j < c.head_dim; ++j) squares += x[j] * x[j];
        const double factor = 1 / std::sqrt(squares / static_cast<double>(c.head_dim) + kEpsilon);
        for (size_t j = 0; j < c.head_dim; ++j) x[j] *= factor * (part == &row.q ? d.q_norm : d.k_norm).f32()[j];
      }
      for (size_t j = 0; j < c.rotary / 2; ++j) {
        const float* cos_sin =
            d.rope.f32() + ((static_cast<size_t>(d.variants[token]) * kMaxPositions + position) * (c.rotary / 2) + j) * 2;
        const double a = x[j], b = x[j + c.rotary / 2];
        x[j] = a * cos_sin[0] - b * cos_sin[1];
        x[j + c.rotary / 2] = b * cos_sin[0] + a * cos_sin[1];
      }
    }
  }
  if (c.query_scale) {
    for (double& value : row.q) value *= d.scales.f32()[position];
  }
  return row;
}

// Bias, norm (head_dim / 32 + 8 roundings, as in norm_test.cpp), two products and a sum of rope, the scale: each value errs by at most
// (head_dim / 32 + 16) * 2^-24 of the largest of its head, twice over for the rotated pair. The cache rounds once more.
// A code is within half a step of the value, a step being the head's largest over 127.
void check(const QkvCase& c, const double* want, const float* got, size_t count, double rounding, const std::string& what) {
  for (size_t head = 0; head < count / c.head_dim; ++head) {
    double most = 0;
    for (size_t j = 0; j < c.head_dim; ++j) most = std::max(most, std::fabs(want[head * c.head_dim + j]));
    for (size_t j = 0; j < c.head_dim; ++j) {
      const size_t i = head * c.head_dim + j;
      const double tolerance =
          (static_cast<double>(c.head_dim) / 16 + 32) * 0x1p-24 * (most + 2) + rounding * (c.kv == Format::i8 ? most : std::fabs(want[i]));
      ASSERT_NEAR(got[i], want[i], tolerance) << what << " head " << head << " dim " << j;
    }
  }
}

// A token's head in a cache of codes, as a row of i8.
std::vector<std::byte> cached_codes(const QkvCase& c, const std::byte* cache, size_t slot, size_t head, bool is_key) {
  const size_t in_block = slot % kBlockTokens, row = row_bytes(Format::i8, c.head_dim);
  const std::byte* block = cache + (slot / kBlockTokens * c.kv_heads + head) * kBlockTokens * row;
  std::vector<std::byte> values;
  for (size_t i = 0; i < c.head_dim; ++i) {
    const int code = static_cast<int>(block[is_key ? i * kBlockTokens + in_block : in_block * c.head_dim + i]) - kCodeZero;
    values.push_back(static_cast<std::byte>(static_cast<int8_t>(code)));
  }
  const std::byte* scale = block + scales_offset(kBlockTokens, c.head_dim) + in_block * sizeof(float);
  values.insert(values.end(), scale, scale + sizeof(float));
  return values;
}

TEST(Qkv, EveryRow) {
  constexpr size_t kTokens = 35;
  TestDevice devices[] = {TestDevice(2), TestDevice(1), TestDevice(3)};
  for (const QkvCase& c : kCases) {
    const Data d = make_data(c, kTokens);
    const std::vector<Tensor> parts = {d.q.tensor, d.k.tensor, d.v.tensor};
    std::map<std::string, std::vector<std::byte>> first;  // q, K and V cache of all rows
    for (TestDevice& device : devices) {
      for (const LayoutWeight& loaded : device.layouts(WeightUse::qkv, parts)) {
        for (const auto& row : device.tables().qkv) {
          for (const size_t count : {kTokens, size_t{17}, size_t{3}, size_t{1}}) {
            const Owned q({count, c.heads * c.head_dim}, Format::f32);
            q.poison();
            const Shape cache_shape = {kBlocks, c.kv_heads, kBlockTokens, c.head_dim};
            const Owned k_cache(cache_shape, c.kv), v_cache(cache_shape, c.kv);
            std::memset(k_cache.tensor.data, 0xff, k_cache.tensor.bytes());
            std::memset(v_cache.tensor.data, 0xff, v_cache.tensor.bytes());
            Tensor h = d.h.tensor;
            h.shape = {count, c.hidden};
            QkvArgs args{.h = h, .norm = d.norm.tensor, .norm_epsilon = kEpsilon, .w = &loaded.weight, .q = q.tensor};
            if (c.bias) args.bias = d.bias.tensor;
            if (c.head_norms) args.q_norm = d.q_norm.tensor, args.k_norm = d.k_norm.tensor;
            args.rope = {d.rope.f32(), c.query_scale ? d.scales.f32() : nullptr, static_cast<int32_t>(c.rotary), kMaxPositions};
            args.batch.num_tokens = static_cast<int32_t>(count);
            args.batch.positions = d.positions.data();
            args.batch.slots = d.slots.data();
            args.batch.rope_variants = d.variants.data();
            args.kv = {k_cache.tensor.data,
                       v_cache.tensor.data,
                       c.kv,
                       kBlocks,
                       static_cast<int32_t>(c.kv_heads),
                       kBlockTokens,
                       static_cast<int32_t>(c.head_dim)};
            if (!row.supports(args, device.info())) continue;
            device.run(row, args);

            const std::string what = fmt::format("{} {} tokens {} threads {}", c.name, row.name, count, device.info().num_threads);
            const size_t value_bytes = format_info(c.kv).block_bytes, row_bytes = quern::row_bytes(c.kv, c.head_dim);
            // The bytes of a token's head in the cache, dimensions in order.
            const auto cached = [&](const Owned& cache, size_t token, size_t head) {
              const auto slot = static_cast<size_t>(d.slots[token]), in_block = slot % kBlockTokens;
              if (c.kv == Format::i8) return cached_codes(c, cache.tensor.data, slot, head, &cache == &k_cache);
              const size_t block = (slot / kBlockTokens * c.kv_heads + head) * kBlockTokens * c.head_dim;
              std::vector<std::byte> values;
              for (size_t i = 0; i < c.head_dim; ++i) {
                const size_t at = block + (&cache == &k_cache ? i * kBlockTokens + in_block : in_block * c.head_dim + i);
                values.insert(values.end(), cache.tensor.data + at * value_bytes, cache.tensor.data + (at + 1) * value_bytes);
              }
              return values;
            };
            std::vector<std::byte> bytes;  // of the tokens in order
            for (size_t t = 0; t < count; ++t) {
              bytes.insert(bytes.end(), q.tensor.data + t * q.tensor.row_bytes(), q.tensor.data + (t + 1) * q.tensor.row_bytes());
              for (size_t head = 0; head < c.kv_heads; ++head) {
                for (const Owned* cache : {&k_cache, &v_cache}) {
                  const std::vector<std::byte> values = cached(*cache, t, head);
                  bytes.insert(bytes.end(), values.begin(), values.end());
                }
              }
            }
            const std::string arithmetic = arithmetic_of(loaded.weight, row.name);
            std::vector<std::byte>& all = first[arithmetic];
            if (!all.empty()) {
              ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(), all.begin())) << what;
              continue;
            }
            all = bytes;
            // The norm of row.norm is known through rows of head; here products of the exactly normalized row would differ by a code, so
            // they come from the row's own norm.
            const Owned normed = device.normalized(d.h.tensor, d.norm.tensor, kEpsilon, loaded.weight.layout);
            const Owned pq = device.multiply(normed.tensor, d.q.tensor, arithmetic),
                        pk = device.multiply(normed.tensor, d.k.tensor, arithmetic),
                        pv = device.multiply(normed.tensor, d.v.tensor, arithmetic);
            const double rounding = c.kv == Format::f32 ? 0 : c.kv == Format::f16 ? 0x1p-11 : c.kv == Format::i8 ? 0.5 / 127 : 0x1p-8;
            for (size_t t = 0; t < count; ++t) {
              const Row want = finish(c, d, t, pq.f32(t), pk.f32(t), pv.f32(t));
              check(c, want.q.data(), q.f32(t), want.q.size(), 0, what + " q");
              std::vector<float> values(c.head_dim);
              for (size_t head = 0; head < c.kv_heads; ++head) {
                format_info(c.kv).unpack(cached(k_cache, t, head).data(), c.head_dim, values.data());
                check(c, want.k.data() + head * c.head_dim, values.data(), c.head_dim, rounding, what + " k");
                format_info(c.kv).unpack(cached(v_cache, t, head).data(), c.head_dim, values.data());
                check(c, want.v.data() + head * c.head_dim, values.data(), c.head_dim, rounding, what + " v");
              }
            }
            // Slots that no token has are left alone.
            size_t untouched = 0;
            for (size_t i = 0; i < k_cache.tensor.bytes(); ++i) untouched += k_cache.tensor.data[i] == std::byte{0xff};
            ASSERT_GE(untouched, (kBlocks * kBlockTokens - count) * c.kv_heads * row_bytes) << what;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace quern::cpu
