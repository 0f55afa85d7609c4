// What is planned before anything is loaded is, to the byte, what the loaded model then takes on the device.
#include "engine/memory_plan.h"

#include <gtest/gtest.h>

#include "engine/random_model.h"

namespace quern {
namespace {

TEST(MemoryPlan, IsWhatTheLoadedModelTakes) {
  for (const bool tied : {true, false}) {
    for (const Format format : {Format::f32, Format::f16, Format::i8, Format::i4g32, Format::q4_k}) {
      ModelConfig config = testing::random_model_config();
      config.tied_embeddings = tied;
      const testing::RandomEngineFile file(config, format);
      Backend backend({.num_threads = 2});
      const EngineOptions options{.max_num_seqs = 3, .max_num_batched_tokens = 100, .max_model_len = 300};
      const MemoryPlan plan = plan_memory(config, file.file()->tensors(), backend, options);
      Engine engine(file.file(), backend, options);
      EXPECT_EQ(plan.weights, engine.transformer()->weight_bytes()) << format_name(format);
      EXPECT_EQ(plan.activations, engine.transformer()->activation_bytes()) << format_name(format);
      EXPECT_EQ(plan.kv_blocks, engine.stats().kv_blocks);
      EXPECT_EQ(plan.kv_bytes_per_token, 2 * config.num_layers * config.kv_rows() * (format == Format::f32 ? 4U : 2U));
    }
  }
}

TEST(MemoryPlan, CountsWholeContextsAndRefusesWhatOverflows) {
  const testing::RandomEngineFile file(testing::random_model_config(), Format::f16);
  Backend backend({.num_threads = 1});
  const auto plan = [&](EngineOptions options) {
    return plan_memory(testing::random_model_config(), file.file()->tensors(), backend, options);
  };
  EXPECT_EQ(plan({.max_num_seqs = 2, .max_model_len = 100}).kv_blocks, 2 * 7U);
  EXPECT_EQ(plan({.max_num_seqs = 2}).context, 512U);
  EXPECT_EQ(plan({.kv_cache_bytes = 1 << 20}).kv_blocks, (1U << 20) / (16 * 1024));
  EXPECT_THROW(plan({.max_num_seqs = size_t{1} << 15, .max_num_batched_tokens = size_t{1} << 15, .block_tokens = size_t{1} << 62}), Error);
}

}  // namespace
}  // namespace quern
