// attention against double precision.
//
// Tolerance. K, V and q are exact. Rows other than the generic one round the softmax weights to the cache's 16-bit type (2^-11 or 2^-8 of
// each) and q to bf16 for a bf16 cache; a score's error e changes its weight by that share. With w the weights and s the scores:
// |error of y| <= sum w |v| * (rounding + 2 * (e + 2^-20 + |s| 2^-22)), and the output is rounded.
#include <algorithm>

#include "backend/cuda/conformance_test.h"

namespace quern::cuda_test {
namespace {

struct Case {
  std::vector<SequenceShape> sequences;
  size_t kv_heads, group, head_dim;
  int32_t block_tokens, window;
  Format kv_format;
};

void check(TestDevice& device, const Case& c, Rng& rng) {
  const TestBatch batch = make_batch(device, c.sequences, c.block_tokens, 100, rng);
  const auto tokens = static_cast<size_t>(batch.host.num_tokens), page = static_cast<size_t>(c.block_tokens);
  const size_t heads = c.kv_heads * c.group, columns = heads * c.head_dim;
  const float scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
  const Shape cache = {static_cast<size_t>(batch.num_blocks) * c.kv_heads * page, c.head_dim};
  HostTensor k = random_tensor(cache, c.kv_format, rng), v = random_tensor(cache, c.kv_format, rng);
  const Format q_format = c.kv_format == Format::f32 ? Format::f32 : Format::f16;
  HostTensor q = random_tensor({tokens, columns}, q_format, rng, 1.5F);
  AttentionArgs args = {.q = device.upload(q), .batch = batch.device, .scale = scale, .window = c.window};
  args.kv = {device.upload(k).data, device.upload(v).data,           c.kv_format, batch.num_blocks, static_cast<int32_t>(c.kv_heads),
             c.block_tokens,        static_cast<int32_t>(c.head_dim)};
  args.y = device.allocate({tokens, columns}, q_format);

  std::vector<double> want(tokens * columns), absolute(tokens * columns), largest(tokens * heads), spread(tokens * heads);
  std::vector<size_t> sequence_of;
  for (size_t s = 0; s < c.sequences.size(); ++s)
    sequence_of.insert(sequence_of.end(), static_cast<size_t>(c.sequences[s].query_tokens), s);
  on_every_core(tokens * heads, [&](size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) {
      const size_t t = i / heads, head = i % heads;
      const int32_t* table = batch.block_tables.data() + sequence_of[t] * static_cast<size_t>(batch.host.block_table_stride);
      const int32_t end = batch.positions[t] + 1, begin = c.window == 0 || end < c.window ? 0 : end - c.window;
      const auto cache_row = [&](int32_t j) {
        return (static_cast<size_t>(table[j / c.block_tokens]) * c.kv_heads + head / c.group) * page +
               static_cast<size_t>(j % c.block_tokens);
      };
      std::vector<double> scores;
      double most = -1e300, total = 0, length = 0;
      for (int32_t j = begin; j < end; ++j) {
        double score = 0, absolute_score = 0;
        for (size_t d = 0; d < c.head_dim; ++d) {
          const double product = q.at(t, head * c.head_dim + d) * k.at(cache_row(j), d);
          score += product, absolute_score += product * product;
        }
        scores.push_back(score * scale);
        most = std::max(most, scores.back()), length = std::max(length, std::sqrt(absolute_score) * scale);
        largest[i] = std::max(largest[i], std::abs(scores.back()));
      }
      spread[i] = length;
      for (double& score : scores) total += score = std::exp(score - most);
      for (int32_t j = begin; j < end; ++j) {
        const double weight = scores[static_cast<size_t>(j - begin)] / total;
        for (size_t d = 0; d < c.head_dim; ++d) {
          const double value = v.at(cache_row(j), d);
          want[i * c.head_dim + d] += weight * value;
          absolute[i * c.head_dim + d] += weight * std::abs(value);
        }
      }
    }
  });
  for (const KernelRow<AttentionArgs>& row : device.tables().attention) {
    if (!row.supports(args, device.backend().info())) continue;
    const bool is_generic = std::strstr(row.name, "generic") != nullptr;
    const double step = is_generic ? 0 : c.kv_format == Format::bf16 ? 0x1p-8 : 0x1p-11;
    for (int run = 0; run < 2; ++run) {  // twice: counters must be back at zero
      device.poison(args.y);
      device.run(row, args);
      expect_close(
          fmt::format("{} {} tokens {} sequences kv heads {} group {} dim {} page {} window {} {}", row.name, tokens, c.sequences.size(),
                      c.kv_heads, c.group, c.head_dim, c.block_tokens, c.window, format_name(c.kv_format)),
          device.download(args.y), [&](size_t i) { return want[i]; },
          [&](size_t i) {
            const size_t head = i / c.head_dim;
            const double score_error = (c.kv_format == Format::bf16 ? 3.5 * step * spread[head] : 0) + largest[head] * 0x1p-21 + 0x1p-19;
            return absolute[i] * (step + 2 * score_error) + (q_format == Format::f32 ? 0 : 0x1p-11 * std::abs(want[i]) + 0x1p-25) + 1e-7;
          });
    }
  }
  device.clear();
}

// A decode row's bits are the same alone and among many: they take different kernels, and contexts are cut at different places.
void check_bits(TestDevice& device, size_t kv_heads, size_t group, size_t head_dim, int32_t window, Format kv_format, Rng& rng) {
  std::vector<SequenceShape> sequences;
  const size_t count = 68 / kv_heads;  // more pairs than attention_few takes
  for (size_t i = 0; i < count; ++i) sequences.push_back({1, 1 + static_cast<int32_t>(i * 131 % (device.is_small() ? 300 : 3000))});
  const TestBatch batch = make_batch(device, sequences, 16, 100, rng);
  const size_t columns = kv_heads * group * head_dim;
  const Shape cache = {static_cast<size_t>(batch.num_blocks) * kv_heads * 16, head_dim};
  HostTensor k = random_tensor(cache, kv_format, rng), v = random_tensor(cache, kv_format, rng);
  HostTensor q = random_tensor({count, columns}, Format::f16, rng, 1.5F);
  AttentionArgs args = {
      .q = device.upload(q), .batch = batch.device, .scale = 1 / std::sqrt(static_cast<float>(head_dim)), .window = window};
  args.kv = {device.upload(k).data,         device.upload(v).data, kv_format, batch.num_blocks, static_cast<int32_t>(kv_heads), 16,
             static_cast<int32_t>(head_dim)};
  args.y = device.allocate({count, columns}, Format::f16);
  for (const KernelRow<AttentionArgs>& row : device.tables().attention) {
    if (!row.supports(args, device.backend().info())) continue;
    device.poison(args.y);
    device.run(row, args);
    const std::vector<float> together = device.download(args.y);
    device.poison(args.y);
    const int32_t* const starts = device.upload(std::vector<int32_t>{0, 1});
    for (size_t i = 0; i < count; ++i) {
      AttentionArgs one = args;
      one.batch.num_tokens = one.batch.num_sequences = one.batch.num_decode = 1;
      one.batch.query_start = starts, one.batch.context_lengths += i, one.batch.positions += i;
      one.batch.block_tables += i * static_cast<size_t>(one.batch.block_table_stride);
      one.q.data += i * args.q.row_bytes(), one.y.data += i * args.y.row_bytes();
      one.q.shape = one.y.shape = {1, columns};
      device.run(row, one);
    }
    const std::vector<float> alone = device.download(args.y);
    expect(std::memcmp(alone.data(), together.data(), alone.size() * sizeof(float)) == 0,
           fmt::format("{} kv heads {} group {} dim {} window {} {}: the same bits alone and among {}", row.name, kv_heads, group, head_dim,
                       window, format_name(kv_format), count));
  }
  device.clear();
}

}  // namespace

void test_attention(TestDevice& device) {
  Rng rng(6);
  std::vector<Case> cases = {
      {{{1, 1}, {1, 15}, {1, 16}, {1, 17}, {1, 127}, {1, 128}, {1, 129}}, 2, 1, 64, 16, 0, Format::f16},
      {{{1, 300}, {1, 40}}, 1, 4, 128, 16, 0, Format::f16},
      {{{1, 130}, {1, 64}}, 2, 7, 64, 32, 0, Format::bf16},
      {{{1, 140}, {7, 7}, {20, 150}}, 1, 2, 64, 16, 0, Format::f16},
      {{{1, 140}, {1, 31}}, 1, 3, 64, 16, 32, Format::f16},
      {{{1, 20}, {5, 30}}, 2, 3, 8, 16, 0, Format::f32},
      {{{33, 33}, {64, 100}}, 1, 1, 64, 16, 40, Format::f16},
      {{{1, 9}, {17, 70}}, 1, 8, 128, 64, 0, Format::bf16},
  };
  // More pairs than attention_few takes.
  std::vector<SequenceShape> forty;
  for (int32_t i = 0; i < 40; ++i) forty.push_back({1, 1 + i * 29 % 150});
  cases.push_back({forty, 2, 2, 64, 16, 0, Format::f16});
  if (!device.is_small()) {
    for (size_t group = 1; group <= 8; ++group) {
      cases.push_back({{{1, 1000}, {1, 2049}, {1, 77}}, 2, group, 128, 16, 0, Format::f16});
      cases.push_back({{{1, 700}, {127, 127}, {128, 300}, {129, 1000}}, 2, group, 64, 16, 0, group % 2 == 0 ? Format::bf16 : Format::f16});
    }
    cases.push_back({{{1, 10000}, {1, 6000}, {1, 4097}}, 2, 4, 128, 16, 0, Format::f16});
    cases.push_back({{{1, 5000}, {600, 2000}, {1024, 1024}}, 2, 2, 128, 16, 777, Format::f16});
    cases.push_back({{{1, 9000}}, 1, 2, 96, 16, 0, Format::f16});
    std::vector<SequenceShape> many;
    for (int32_t i = 0; i < 64; ++i) many.push_back({1, 1 + i * 37 % 900});
    cases.push_back({many, 4, 7, 128, 16, 0, Format::f16});
  }
  for (const Case& c : cases) check(device, c, rng);
  check_bits(device, 2, 1, 64, 0, Format::f16, rng);
  check_bits(device, 4, 7, 128, 0, Format::f16, rng);
  check_bits(device, 1, 3, 128, 200, Format::bf16, rng);
}

}  // namespace quern::cuda_test
