// A batch flattened: every integer at its place, padded rows on the scratch block, and batches at odds with themselves refused.
#include "models/step_input.h"

#include <gtest/gtest.h>

#include "models/model_config.h"

namespace quern {
namespace {

ModelConfig one_small_head() {
  ModelConfig config;
  config.num_layers = config.num_kv_heads = 1;
  config.head_dim = 4;
  return config;
}

class StepInputTest : public ::testing::Test {
 protected:
  Backend backend_{{.num_threads = 1}};
  KvCache cache_{one_small_head(), backend_, 10, 4, Format::f32};
  StepInput input_{backend_,
                   {.rows = 16, .sequences = 4, .logit_rows = 8, .context = 24, .block_tokens = 4, .vocab_size = 100, .rope_variants = 3}};
};

template <class T>
std::vector<T> values(const T* data, size_t count) {
  return {data, data + count};
}

using Ints = std::vector<int32_t>;

TEST_F(StepInputTest, FlattensDecodeRowsAndChunks) {
  const Ints decode = {7}, chunk = {1, 2, 3, 4, 5};
  const std::vector<uint32_t> first = {9, 2}, second = {4, 0, 5};
  ForwardBatch batch;
  batch.sequences = {{.token_ids = decode, .first_position = 5, .blocks = first, .rope_variant = 2, .wants_logits = true},
                     {.token_ids = chunk, .first_position = 6, .blocks = second, .wants_logits = true, .logit_tokens = 2}};
  const BatchView view = input_.upload(batch, cache_, 2);
  EXPECT_EQ(view.num_tokens, 6);
  EXPECT_EQ(view.num_sequences, 2);
  EXPECT_EQ(view.num_decode, 1);
  EXPECT_EQ(view.num_sample_rows, 3);
  EXPECT_EQ(view.max_query_tokens, 5);
  EXPECT_EQ(view.max_context, 11);
  EXPECT_EQ(view.block_table_stride, 6);
  EXPECT_EQ(values(view.token_ids, 6), (Ints{7, 1, 2, 3, 4, 5}));
  EXPECT_EQ(values(view.positions, 6), (Ints{5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(values(view.slots, 6), (Ints{2 * 4 + 1, 2, 3, 5 * 4, 5 * 4 + 1, 5 * 4 + 2}));
  EXPECT_EQ(values(view.rope_variants, 6), (Ints{2, 0, 0, 0, 0, 0}));
  EXPECT_EQ(values(view.query_start, 3), (Ints{0, 1, 6}));
  EXPECT_EQ(values(view.context_lengths, 2), (Ints{6, 11}));
  EXPECT_EQ(values(view.sample_rows, 3), (Ints{0, 4, 5}));
  EXPECT_EQ(values(view.block_tables, 2), (Ints{9, 2}));
  EXPECT_EQ(values(view.block_tables + 6, 3), (Ints{4, 0, 5}));
}

TEST_F(StepInputTest, PadsDecodeRowsWithTheScratchBlock) {
  const Ints decode = {7};
  const std::vector<uint32_t> blocks = {3};
  ForwardBatch batch;
  batch.sequences = {{.token_ids = decode, .first_position = 2, .blocks = blocks, .wants_logits = true}};
  batch.sample_rows.resize(1);
  batch.sample_rows[0].seed = 12345;
  const int32_t* place = nullptr;
  for (const size_t padded : {1, 4, 2}) {
    const BatchView view = input_.upload(batch, cache_, padded);
    EXPECT_EQ(view.num_sequences, static_cast<int32_t>(padded));
    EXPECT_EQ(view.num_decode, static_cast<int32_t>(padded));
    EXPECT_EQ(view.num_sample_rows, static_cast<int32_t>(padded));
    for (size_t row = 1; row < padded; ++row) {
      EXPECT_EQ(view.slots[row], 40);
      EXPECT_EQ(view.block_tables[row * 6], 10);
      EXPECT_EQ(view.context_lengths[row], 1);
      EXPECT_EQ(view.sample_rows[row], static_cast<int32_t>(row));
    }
    EXPECT_EQ(input_.sample_rows()[0].seed, 12345U);
    EXPECT_TRUE(place == nullptr || place == view.token_ids);  // captured steps hold the addresses
    place = view.token_ids;
  }
}

TEST_F(StepInputTest, BrokenBatchesAreCaught) {
  const Ints one = {1}, two = {1, 2}, unknown = {100}, many(17, 1);
  const std::vector<uint32_t> block = {0}, outside = {11}, blocks = {0, 1, 2, 3, 4, 5};
  using Sequences = std::vector<ForwardBatch::Sequence>;
  const Sequences cases[] = {
      {},
      {{.token_ids = {}, .first_position = 0, .blocks = block}},
      {{.token_ids = unknown, .first_position = 0, .blocks = block}},
      {{.token_ids = one, .first_position = -1, .blocks = block}},
      {{.token_ids = one, .first_position = 4, .blocks = block}},    // its block is missing
      {{.token_ids = one, .first_position = 24, .blocks = blocks}},  // beyond the context
      {{.token_ids = one, .first_position = 0, .blocks = outside}},
      {{.token_ids = many, .first_position = 0, .blocks = blocks}},  // beyond the rows
      {{.token_ids = one, .first_position = 0, .blocks = block, .rope_variant = 3}},
      {{.token_ids = two, .first_position = 0, .blocks = block}, {.token_ids = one, .first_position = 0, .blocks = block}},  // order
      {{.token_ids = two, .first_position = 0, .blocks = block, .wants_logits = true, .logit_tokens = 3}},
      Sequences(5, {.token_ids = one, .first_position = 0, .blocks = block}),
  };
  for (const Sequences& sequences : cases) {
    ForwardBatch batch;
    batch.sequences = sequences;
    EXPECT_THROW(input_.upload(batch, cache_, 0), Error) << &sequences - cases;
  }
  ForwardBatch batch;
  batch.sequences = {{.token_ids = one, .first_position = 0, .blocks = block, .wants_logits = true}};
  batch.sample_rows.resize(2);
  EXPECT_THROW(input_.upload(batch, cache_, 0), Error);
  batch.sample_rows.resize(1);
  batch.sample_rows[0].counts_end = 1;
  EXPECT_THROW(input_.upload(batch, cache_, 0), Error);
}

TEST(KvCache, SizesAndLimits) {
  ModelConfig config;
  config.num_layers = 24;
  config.num_kv_heads = 2;
  config.head_dim = 64;
  EXPECT_EQ(KvCache::bytes_per_block(config, 16, Format::f16), 16U * 12288);  // 12,288 bytes a token: Qwen2-0.5B
  Backend backend({.num_threads = 1});
  EXPECT_THROW(KvCache(config, backend, SIZE_MAX / 2, 16, Format::f16), Error);
  EXPECT_THROW(KvCache(config, backend, size_t{1} << 30, 16, Format::f16), Error);
  config.num_layers = 2;
  KvCache cache(config, backend, 3, 16, Format::f16);
  for (size_t i = 0; i < 2; ++i) {
    const KvView view = cache.layer(i);
    EXPECT_EQ(view.num_blocks, 4);
    EXPECT_EQ(view.v - view.k, 4 * 2 * 16 * 64 * 2);
    std::fill_n(view.k, 4 * 2 * 16 * 64 * 2 * 2, std::byte{1});
  }
  cache.clear_block(1);
  const size_t block_bytes = 2 * 16 * 64 * 2;
  for (size_t i = 0; i < 2; ++i) {
    for (const std::byte* half : {cache.layer(i).k, cache.layer(i).v}) {
      for (size_t b = 0; b < 4 * block_bytes; ++b) ASSERT_EQ(half[b], std::byte(b / block_bytes == 1 ? 0 : 1)) << b;
    }
  }
}

}  // namespace
}  // namespace quern
