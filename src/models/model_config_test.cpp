// A ModelConfig survives its JSON form, and every number out of range is refused by name.
#include "models/model_config.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

using Scaling = RopeConfig::Scaling;

ModelConfig small_config() {
  ModelConfig config;
  config.family = "qwen2";
  config.hidden_size = 64;
  config.intermediate_size = 172;
  config.num_layers = 3;
  config.num_heads = 8;
  config.num_kv_heads = 4;
  config.head_dim = 8;
  config.vocab_size = 512;
  config.max_position_embeddings = 512;
  config.norm_epsilon = 1e-6;
  config.rope.rotary_dims = 8;
  config.windows = {0, 0, 0};
  return config;
}

TEST(ModelConfig, SurvivesJson) {
  std::vector<ModelConfig> configs(7, small_config());
  configs[1].rope = {.scaling = Scaling::yarn,
                     .base = 1e6,
                     .rotary_dims = 8,
                     .factor = 4,
                     .original_context = 128,
                     .attention_factor = 1.1,
                     .truncate = false};
  configs[2].rope = {
      .scaling = Scaling::llama3, .base = 5e5, .rotary_dims = 8, .factor = 8, .original_context = 64, .low_freq_factor = 0.5};
  configs[3].rope = {.scaling = Scaling::divided, .base = 1e4, .rotary_dims = 8, .divisors = {1, 1.5F, 0.1F, 8}};
  configs[4].rope = {.scaling = Scaling::qwen_ntk, .base = 1e4, .rotary_dims = 8, .original_context = 128};
  configs[4].logn_attention = true;
  configs[4].logn_length = 128;
  configs[5].windows = {0, 8, 0};
  configs[5].qkv_bias = configs[5].tied_embeddings = configs[5].qk_norm = true;
  configs[6].rope = {.scaling = Scaling::linear, .base = 1e4, .rotary_dims = 8, .factor = 2.5};
  for (const ModelConfig& config : configs) {
    const Json json = Json::parse(config.to_json().dump());
    EXPECT_EQ(ModelConfig::from_json(json, "test"), config) << json.dump(1);
  }
}

TEST(ModelConfig, RefusesNumbersOutOfRange) {
  const struct {
    const char* field;
    Json value;
  } cases[] = {
      {"hidden_size", 0},
      {"hidden_size", -64},
      {"hidden_size", "64"},
      {"hidden_size", uint64_t{1} << 40},
      {"intermediate_size", 0},
      {"num_layers", 0},
      {"num_layers", 513},
      {"num_heads", 0},
      {"num_kv_heads", 3},
      {"num_kv_heads", 16},
      {"head_dim", 1},
      {"head_dim", 100000},
      {"vocab_size", 0},
      {"vocab_size", 1 << 23},
      {"max_position_embeddings", uint64_t{1} << 31},
      {"norm_epsilon", 0},
      {"norm_epsilon", -1e-6},
      {"norm_epsilon", nullptr},
      {"rope", nullptr},
      {"windows", Json{1, 2}},
      {"windows", Json{1, 2, -3}},
      {"logn_length", 1},
      {"unknown", 7},
  };
  for (const auto& c : cases) {
    Json json = small_config().to_json();
    json[c.field] = c.value;
    EXPECT_THROW(ModelConfig::from_json(json, "test"), Error) << c.field << ": " << c.value.dump();
  }
  const struct {
    const char* field;
    Json value;
  } rope_cases[] = {{"scaling", "dynamic"}, {"scaling", 3}, {"base", 0.5},     {"base", 1},         {"rotary_dims", 7},
                    {"rotary_dims", 16},    {"factor", 0},  {"factor", "two"}, {"scaling", "yarn"}, {"scaling", "divided"}};
  for (const auto& c : rope_cases) {
    Json json = small_config().to_json();
    json["rope"][c.field] = c.value;
    EXPECT_THROW(ModelConfig::from_json(json, "test"), Error) << c.field << ": " << c.value.dump();
  }
}

}  // namespace
}  // namespace quern
