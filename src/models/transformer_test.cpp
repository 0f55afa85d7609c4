// The Transformer around its numbers: what loading refuses, what it counts, formats mixed in one weight, steps without sampling.
#include "models/transformer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "models/test_models.h"
#include "source_dir.h"

namespace quern {
namespace {

using testing::build_engine;
using testing::BuildChoices;
using testing::Runner;
using testing::same_logits;
using testing::TempFolder;

std::string golden(const std::string& name) { return source_dir() + "/tests/goldens/models/" + name; }

TransformerLimits small_limits() {
  return {.max_batch_tokens = 32, .max_sequences = 4, .max_context = 64, .max_logit_rows = 32, .block_tokens = 8, .kv_format = Format::f32};
}

void expect_error(ErrorCode code, const std::vector<const char*>& named, const std::function<void()>& act) {
  try {
    act();
    ADD_FAILURE() << "accepted; want a message with " << named.front();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.message();
    for (const char* name : named) EXPECT_NE(error.message().find(name), std::string::npos) << name << " in: " << error.message();
  }
}

TEST(Transformer, WeightsThatDoNotFitAreNamed) {
  const TempFolder folder;
  Backend backend({.device = testing::test_device(), .num_threads = 1});
  const auto load = [&](const char* file, const BuildChoices& choices) {
    const std::shared_ptr<EngineFile> engine = build_engine(golden("qwen2-gqa"), folder / file, choices);
    Transformer(engine, backend, small_limits(), 203);
  };
  const auto tensor = [](std::vector<EngineTensorInfo>& layout, const char* name) -> EngineTensorInfo& {
    return *std::ranges::find(layout, name, &EngineTensorInfo::name);
  };
  expect_error(invalid_input, {"blk.1.k", "[8,56]", "[56,8]"}, [&] {
    load("a.quern", {.layout = [&](auto& layout) { tensor(layout, "blk.1.k").shape = {56, 8}; }});
  });
  expect_error(invalid_input, {"blk.0.gate", "[92,56]"},
               [&] { load("b.quern", {.layout = [&](auto& layout) { tensor(layout, "blk.0.gate").name = "blk.0.gote"; }}); });
  expect_error(invalid_input, {"norm", "f32"}, [&] {
    const std::shared_ptr<EngineFile> file = build_engine(golden("qwen2-gqa"), folder / "c.quern", {.layout = [&](auto& layout) {
                                                            tensor(layout, "norm").format = Format::f16;
                                                            tensor(layout, "norm").shape = {112};
                                                          }});
    Transformer(file, backend, small_limits(), 203);
  });
}

TEST(Transformer, LimitsAreChecked) {
  const TempFolder folder;
  Backend backend({.device = testing::test_device(), .num_threads = 1});
  const std::shared_ptr<EngineFile> file = build_engine(golden("qwen2-gqa"), folder / "m.quern");
  const auto load = [&](void (*change)(TransformerLimits&), size_t num_tokens = 203) {
    TransformerLimits limits = small_limits();
    change(limits);
    Transformer(file, backend, limits, num_tokens);
  };
  load([](TransformerLimits& l) { l.max_context = 256; });
  expect_error(usage, {"context", "256", "257"}, [&] { load([](TransformerLimits& l) { l.max_context = 257; }); });
  expect_error(usage, {"batch tokens"}, [&] { load([](TransformerLimits& l) { l.max_batch_tokens = 0; }); });
  expect_error(usage, {"sequences"}, [&] { load([](TransformerLimits& l) { l.max_sequences = 0; }); });
  expect_error(invalid_input, {"204 tokens", "203 rows"}, [&] { load([](TransformerLimits&) {}, 204); });
  expect_error(invalid_input, {"0 tokens"}, [&] { load([](TransformerLimits&) {}, 0); });
}

TEST(Transformer, BytesAreCounted) {
  const TempFolder folder;
  for (const char* name : {"qwen2-gqa", "qwen3-wide-heads", "qwen1-ntk"}) {  // the second is tied, the third has several rope tables
    const std::shared_ptr<EngineFile> file = build_engine(golden(name), folder / (std::string(name) + ".quern"));
    size_t all = 0, embed = 0;
    for (const EngineTensorInfo& tensor : file->tensors()) all += tensor.bytes, embed += tensor.name == "embed" ? tensor.bytes : 0;
    Runner runner(file, small_limits());
    const Transformer& model = runner.model();
    // A private layout pads rows to its panels, which can double matrices as small as these, and keeps a tied head beside the embedding.
    const size_t streamed = model.config().tied_embeddings ? all : all - embed;
    EXPECT_GE(model.weight_bytes(), all) << name;
    EXPECT_LE(model.weight_bytes(), 2 * all) << name;
    EXPECT_GE(model.streamed_bytes(), streamed) << name;
    EXPECT_LE(model.streamed_bytes(), std::min(2 * streamed, model.weight_bytes())) << name;
    EXPECT_EQ(model.activation_bytes() - runner.backend().workspace_bytes(),
              Transformer::planned_activation_bytes(model.config(), small_limits(), runner.backend().info()))
        << name;
  }
}

// One weight with parts in different formats: each part errs by its own format's rounding.
TEST(Transformer, PartsMayHaveDifferentFormats) {
  const TempFolder folder;
  const auto mixed = [](const std::string& name) {
    if (name.ends_with(".k") || name.ends_with(".gate") || name == "head") return Format::f16;
    return name.ends_with(".q") || name.ends_with(".down") || name == "embed" ? Format::i8g32 : Format::bf16;
  };
  std::vector<int32_t> ids(40);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 7 % 150);
  Runner exact(build_engine(golden("qwen2-window"), folder / "exact.quern"), small_limits());
  Runner rounded(build_engine(golden("qwen2-window"), folder / "mixed.quern", {.format = mixed}), small_limits());
  const std::vector<float> want = exact.logits(ids, 40, 20), found = rounded.logits(ids, 40, 20);
  EXPECT_TRUE(same_logits(rounded.model().config(), rounded.logits(ids, 40, 7), found));
  double square = 0, difference = 0;
  for (size_t i = 0; i < want.size(); ++i) square += want[i] * want[i], difference += (found[i] - want[i]) * (found[i] - want[i]);
  // Three layers of seven weights, each off by at most i8g32's 0.0053 of its size, as independent errors; twice that for what softmax adds.
  EXPECT_LT(std::sqrt(difference / square), 2 * 0.0053 * std::sqrt(21));
  EXPECT_GT(difference, 0);
}

TEST(Transformer, StepsWithoutLogits) {
  const TempFolder folder;
  Runner runner(build_engine(golden("qwen2-gqa"), folder / "m.quern"), small_limits());
  const std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<float> want = runner.logits(ids, 9, 9);
  const std::vector<uint32_t> blocks = {3, 1};
  ForwardBatch batch;
  batch.sequences = {{.token_ids = std::span(ids).first(8), .first_position = 0, .blocks = blocks}};
  EXPECT_TRUE(runner.model().forward(batch, runner.cache()).empty());
  EXPECT_TRUE(runner.model().kept_logits().empty());
  batch.sequences = {{.token_ids = std::span(ids).last(1), .first_position = 8, .blocks = blocks, .wants_logits = true}};
  EXPECT_TRUE(runner.model().forward(batch, runner.cache()).empty());
  EXPECT_TRUE(same_logits(runner.model().config(), runner.model().kept_logits(), std::vector<float>(want.end() - 203, want.end())));
}

// Three sequences in one step: each row has its own sampling, and the tables (counts, biases, masks) reach the right row.
TEST(Transformer, RowsAreSampledOnTheirOwn) {
  const TempFolder folder;
  Runner runner(build_engine(golden("qwen2-gqa"), folder / "m.quern"), small_limits());
  std::vector<Runner::Sequence> s = {runner.start({1, 2, 3}, 3), runner.start({9}, 1), runner.start({50, 60, 70, 80}, 4)};
  ForwardBatch sampling;
  sampling.sample_rows.resize(3);
  for (SampleRow& row : sampling.sample_rows) row.temperature = 0;
  const std::vector<std::pair<Runner::Sequence*, size_t>> work = {{&s[1], 1}, {&s[0], 3}, {&s[2], 4}};
  sampling.sample_rows[0].num_logprobs = 3;
  const std::vector<SampledRow> greedy = runner.step(work, sampling);
  std::vector<std::vector<float>> logits;
  for (const auto& [sequence, tokens] : work) logits.push_back(sequence->logits);
  ASSERT_EQ(greedy.size(), 3U);
  for (size_t r = 0; r < 3; ++r) EXPECT_EQ(greedy[r].token_id, std::ranges::max_element(logits[r]) - logits[r].begin()) << r;
  ASSERT_EQ(greedy[0].top.size(), 3U);
  EXPECT_EQ(greedy[0].top[0], (std::pair{greedy[0].token_id, greedy[0].logprob}));
  EXPECT_TRUE(greedy[1].top.empty());

  // Again: row 0 biased away from its choice, row 1 allowed one token only, row 2 as before with a count of another token.
  for (Runner::Sequence& sequence : s) sequence.done = 0, sequence.logits.clear();
  sampling.biases = {{greedy[0].token_id, -1e6F}};
  sampling.sample_rows[0].biases_end = 1;
  sampling.allowed.assign((203 + 31) / 32, 0);
  sampling.allowed[100 / 32] = 1U << (100 % 32);
  sampling.sample_rows[1].allowed_row = 0;
  sampling.counts = {{(greedy[2].token_id + 1) % 203, 1, 1}};
  sampling.sample_rows[2].repetition_penalty = 1.1F;
  sampling.sample_rows[2].counts_end = 1;
  const std::vector<SampledRow> changed = runner.step(work, sampling);
  EXPECT_EQ(changed[0].token_id, greedy[0].top[1].first);
  EXPECT_EQ(changed[1].token_id, 100);
  EXPECT_EQ(changed[2].token_id, greedy[2].token_id);
  for (size_t r = 0; r < 3; ++r) EXPECT_EQ(work[r].first->logits, logits[r]) << r;  // kept before sampling changed them
}

// A NaN in one sequence's logits ends that row and no other.
TEST(Transformer, NonFiniteLogitsEndTheirRowOnly) {
  const TempFolder folder;
  const auto poison = [](const std::string& name, std::vector<float>& values) {
    if (name == "embed") std::fill_n(values.begin() + 7 * 56, 56, NAN);  // token 7
  };
  Runner clean(build_engine(golden("qwen2-gqa"), folder / "clean.quern"), small_limits());
  Runner runner(build_engine(golden("qwen2-gqa"), folder / "m.quern", {.alter = poison}), small_limits());
  std::vector<Runner::Sequence> s = {runner.start({1, 2, 3}, 3), runner.start({5, 7}, 2), runner.start({50, 60}, 2)};
  ForwardBatch sampling;
  sampling.sample_rows.resize(3);
  for (SampleRow& row : sampling.sample_rows) row.temperature = 0;
  const std::vector<SampledRow> sampled = runner.step({{&s[0], 3}, {&s[1], 2}, {&s[2], 2}}, sampling);
  EXPECT_EQ(sampled[1].token_id, -1);
  for (const size_t r : {0, 2}) {
    const std::vector<float> want = clean.logits(s[r].ids, s[r].ids.size(), s[r].ids.size());
    EXPECT_TRUE(same_logits(clean.model().config(), s[r].logits, std::vector<float>(want.end() - 203, want.end())));
    EXPECT_EQ(sampled[r].token_id, std::ranges::max_element(s[r].logits) - s[r].logits.begin());
  }
}

}  // namespace
}  // namespace quern
