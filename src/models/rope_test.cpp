// Rope tables against the published numbers and, for every scaling, against its formula in double precision.
#include "models/rope.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/thread_pool.h"

namespace quern {
namespace {

using Scaling = RopeConfig::Scaling;

RopeConfig qwen_ntk(uint32_t train_length) {
  return {.scaling = Scaling::qwen_ntk, .base = 10000, .rotary_dims = 128, .original_context = train_length};
}

TEST(Rope, NtkVariantByPromptLength) {
  struct Case {
    uint32_t train_length;
    size_t prompt_tokens;
    double alpha;
  };
  const Case cases[] = {
      {8192, 1, 1},    {8192, 8192, 1}, {8192, 8193, 3}, {8192, 16384, 3}, {8192, 16385, 7}, {8192, 32768, 7}, {8192, 32769, 15},
      {2048, 2048, 1}, {2048, 2049, 3}, {2048, 4096, 3}, {2048, 4097, 7},  {2048, 8192, 7},  {2048, 8193, 15}, {2048, 16384, 15},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(rope_ntk_alpha(rope_variant(qwen_ntk(c.train_length), c.prompt_tokens)), c.alpha) << c.train_length << ' ' << c.prompt_tokens;
    // The published form with logarithms.
    const double exponent = std::ceil(std::log2(static_cast<double>(c.prompt_tokens) / c.train_length) + 1);
    EXPECT_EQ(c.alpha, std::max(std::exp2(exponent) - 1, 1.0));
  }
  EXPECT_EQ(rope_variant({.scaling = Scaling::none, .rotary_dims = 128, .original_context = 32}, 1000), 0);
}

TEST(Rope, NtkBase) {
  const struct {
    int32_t variant;
    double base;
  } cases[] = {{0, 10000}, {1, 30527.74}, {2, 72195.86}};
  for (const auto& c : cases) {
    const std::vector<float> inv_freq = rope_inv_freq(qwen_ntk(8192), c.variant);
    ASSERT_EQ(inv_freq.size(), 64U);
    // The bases are given to 2 decimals: a relative error of 1e-6, times the exponent of at most 1; plus float32 rounding.
    for (size_t i = 0; i < inv_freq.size(); ++i) {
      const double want = std::pow(c.base, -static_cast<double>(i) / 64);
      EXPECT_NEAR(inv_freq[i], want, 2e-6 * want) << c.variant << ' ' << i;
    }
  }
}

TEST(Rope, LognScale) {
  const struct {
    uint32_t length;
    size_t one_based;
    double scale;
  } cases[] = {{8192, 8192, 1}, {8192, 16384, 1.076923}, {8192, 32767, 1.153843},
               {2048, 2048, 1}, {2048, 4096, 1.090909},  {2048, 8192, 1.181818}};
  for (const auto& c : cases) EXPECT_NEAR(logn_scale(c.length, c.one_based - 1), c.scale, 1e-6) << c.length << ' ' << c.one_based;
  EXPECT_GT(logn_scale(8192, 8192), 1.F);  // the first position beyond
}

TEST(Rope, YarnRampAndAttentionFactor) {
  const struct {
    uint32_t dims;
    double factor;
    size_t low, high;
    double attention;
  } cases[] = {{128, 4, 23, 40, 1.138629}, {64, 4, 11, 20, 1.138629}, {128, 2, 23, 40, 1.069315}};
  for (const auto& c : cases) {
    const RopeConfig rope{.scaling = Scaling::yarn, .base = 1e6, .rotary_dims = c.dims, .factor = c.factor, .original_context = 32768};
    EXPECT_NEAR(rope_attention_factor(rope), c.attention, 1e-6);
    const std::vector<float> inv_freq = rope_inv_freq(rope, 0);
    for (size_t i = 0; i < inv_freq.size(); ++i) {
      const double ramp = std::clamp((static_cast<double>(i) - static_cast<double>(c.low)) / static_cast<double>(c.high - c.low), 0.0, 1.0);
      const double want = std::pow(1e6, -2.0 * static_cast<double>(i) / c.dims) * ((1 - ramp) + ramp / c.factor);
      EXPECT_NEAR(inv_freq[i], want, 4 * 0x1p-24 * want) << c.dims << ' ' << i;  // power, quotient, two products: one rounding each
    }
  }
  EXPECT_EQ(rope_attention_factor({.scaling = Scaling::yarn, .rotary_dims = 64, .factor = 4, .attention_factor = 0.5}), 0.5);
  EXPECT_EQ(rope_attention_factor({.scaling = Scaling::linear, .rotary_dims = 64, .factor = 4}), 1);
}

TEST(Rope, Llama3Bands) {
  const RopeConfig rope{.scaling = Scaling::llama3, .base = 500000, .rotary_dims = 128, .factor = 8, .original_context = 8192};
  const std::vector<float> inv_freq = rope_inv_freq(rope, 0);
  size_t kept = 0, divided = 0, between = 0;
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const double plain = std::pow(500000.0, -static_cast<double>(i) / 64), turns = 8192 * plain / (2 * M_PI);  // in the original context
    double want = plain;
    if (turns < 1) {
      want = plain / 8, ++divided;
    } else if (turns <= 4) {
      const double smooth = (turns - 1) / 3;
      want = (1 - smooth) * plain / 8 + smooth * plain, ++between;
    } else {
      ++kept;
    }
    // `smooth` is a difference of quotients: its rounding is relative to turns / 3, at most 4/3 of a unit, thrice.
    EXPECT_NEAR(inv_freq[i], want, 16 * 0x1p-24 * want) << i;
  }
  EXPECT_TRUE(kept > 20 && divided > 20 && between > 2) << kept << ' ' << between << ' ' << divided;
}

TEST(Rope, LinearAndDivided) {
  const std::vector<float> divisors = {1, 2, 3, 8};
  const std::vector<float> plain = rope_inv_freq({.base = 10000, .rotary_dims = 8}, 0);
  const std::vector<float> linear = rope_inv_freq({.scaling = Scaling::linear, .base = 10000, .rotary_dims = 8, .factor = 2.5}, 0);
  const std::vector<float> divided = rope_inv_freq({.scaling = Scaling::divided, .base = 10000, .rotary_dims = 8, .divisors = divisors}, 0);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(linear[i], plain[i] / 2.5F);
    EXPECT_EQ(divided[i], plain[i] / divisors[i]);
  }
  EXPECT_EQ(plain[0], 1);
}

TEST(Rope, TablesHoldEveryVariantAndPosition) {
  ModelConfig config;
  config.rope = {.scaling = Scaling::qwen_ntk, .base = 10000, .rotary_dims = 8, .original_context = 32};
  config.logn_attention = true;
  config.logn_length = 32;
  const RopeTables tables = make_rope_tables(config, 100);
  ThreadPool pool(3);
  EXPECT_EQ(make_rope_tables(config, 100, &pool).cos_sin, tables.cos_sin);
  EXPECT_EQ(tables.num_variants, 3U);  // alpha 1, 3, 7
  ASSERT_EQ(tables.cos_sin.size(), 3U * 100 * 4 * 2);
  ASSERT_EQ(tables.query_scale.size(), 100U);
  EXPECT_EQ(tables.query_scale[31], 1);
  EXPECT_FLOAT_EQ(tables.query_scale[63], static_cast<float>(std::log(64.0) / std::log(32.0)));
  for (int32_t variant = 0; variant < 3; ++variant) {
    const std::vector<float> inv_freq = rope_inv_freq(config.rope, variant);
    for (const size_t position : {0, 1, 31, 32, 99}) {
      for (size_t i = 0; i < 4; ++i) {
        const float* pair = &tables.cos_sin[((static_cast<size_t>(variant) * 100 + position) * 4 + i) * 2];
        const double angle = static_cast<double>(static_cast<float>(position) * inv_freq[i]);
        EXPECT_NEAR(pair[0], std::cos(angle), 0x1p-24) << variant << ' ' << position << ' ' << i;
        EXPECT_NEAR(pair[1], std::sin(angle), 0x1p-24) << variant << ' ' << position << ' ' << i;
      }
    }
  }
}

}  // namespace
}  // namespace quern
