// A receipt is read back as it was written, and whatever else stands in its place is no receipt.
#include "builder/receipt.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "builder/build.h"
#include "builder/shipped_texts.h"
#include "builder/tiny_checkpoint.h"
#include "files/engine_file.h"

namespace quern {
namespace {

Receipt sample() {
  Receipt receipt{.source_xxh3 = "0123456789abcdef", .method = "gptq", .calibration_xxh3 = "fedcba9876543210"};
  receipt.errors = {{"blk.0.q", {0.01, 1}}, {"blk.1.q", {0.04, 1}}, {"embed", {0.0001, 1}}};
  receipt.quality = Quality{.tokens = 2,
                            .perplexity = 12.34561,
                            .source_perplexity = 12.0,
                            .kl_mean = 0.012349,
                            .kl_p99 = 0.1,
                            .top1_agreement = 0.5,
                            .source_choices = {7, 151935}};
  return receipt;
}

TEST(Receipt, IsReadBack) {
  const Json json = sample().json();
  EXPECT_EQ(json.at("tensor_errors"), Json::parse(R"({"q":[0.1,0.2],"embed":[0.01]})"));
  const std::optional<Quality> quality = measured_quality(json);
  ASSERT_TRUE(quality);
  EXPECT_EQ(quality->tokens, 2U);
  EXPECT_EQ(quality->perplexity, 12.346);
  EXPECT_EQ(quality->kl_mean, 0.0123);
  EXPECT_EQ(quality->source_choices, (std::vector<uint32_t>{7, 151935}));
  EXPECT_EQ(receipt_text_xxh3(json), quality_text_xxh3());
  EXPECT_NE(receipt_lines(json)[0].find("12.346, source 12 (+2.88 %)"), std::string::npos) << receipt_lines(json)[0];
}

TEST(Receipt, WhatIsNoneIsNone) {
  const auto with = [](const char* key, const Json& value) {
    Json json = sample().json();
    json["quality"][key] = value;
    return json;
  };
  const Json kBroken[] = {nullptr,
                          3,
                          "text",
                          Json::array(),
                          Json::object(),
                          Json{{"quality", 1}},
                          Json{{"quality", Json::array({1})}},
                          with("tokens", -1),
                          with("tokens", 1e300),
                          with("tokens", 3),
                          with("tokens", "2"),
                          with("perplexity", nullptr),
                          with("source_choices", "00000700000"),
                          with("source_choices", "00000700000g"),
                          with("source_choices", 7)};
  for (const Json& json : kBroken) {
    EXPECT_FALSE(measured_quality(json)) << json.dump();
    EXPECT_FALSE(receipt_lines(json).empty()) << json.dump();
  }
  EXPECT_FALSE(receipt_lines(Json{{"tensor_errors", Json{{"q", "x"}, {"k", Json::array({"y", 2})}}}}).empty());
}

TEST(Receipt, TextsShareNothing) {
  // No 40 bytes of the quality text stand in the calibration text.
  const std::string_view quality = quality_text(), calibration = calibration_text();
  ASSERT_GT(quality.size(), 4000U);
  for (size_t i = 0; i + 40 <= quality.size(); i += 20) EXPECT_EQ(calibration.find(quality.substr(i, 40)), std::string_view::npos) << i;
}

struct BuildCase {
  const char* dtype;
  const char* method;
  std::optional<bool> receipt;
  const char* member;  // of the receipt
};

TEST(Receipt, EveryBuildHasOne) {
  const tiny::TestFolder folder;
  tiny::make("qwen2").write(folder / "m");
  constexpr BuildCase kCases[] = {{"auto", "rtn", {}, "values"},   {"f32", "rtn", {}, "values"},    {"bf16", "rtn", {}, "quality"},
                                  {"int8", "rtn", {}, "quality"},  {"int4", "gptq", {}, "quality"}, {"int4", "rtn", false, "not_measured"},
                                  {"int4", "auto", {}, "quality"}, {"f16", "auto", {}, "quality"}};
  for (const BuildCase& c : kCases) {
    std::string bytes;
    for (const size_t threads : {1UL, 3UL}) {
      const BuildResult result = build_engine({.source = folder / "m",
                                               .output = folder / "e.quern",
                                               .dtype = c.dtype,
                                               .method = c.method,
                                               .receipt = c.receipt,
                                               .num_threads = threads});
      EXPECT_TRUE(result.receipt.contains(c.member)) << c.dtype << result.receipt.dump();
      EXPECT_EQ(EngineFile::open(folder / "e.quern")->metadata().receipt, result.receipt);
      EXPECT_EQ(result.receipt.contains("calibration_xxh3"), c.method != std::string("rtn") && c.dtype == std::string("int4"));
      if (bytes.empty()) bytes = tiny::read_file(folder / "e.quern");
      EXPECT_TRUE(tiny::read_file(folder / "e.quern") == bytes) << c.dtype << ": the same bytes whatever the number of threads";
    }
  }
}

// Factors that move from one map into another leave the function what it was: 8 bits are as close with them as without.
TEST(Receipt, ScaledChannelsCancelOut) {
  for (const char* family : {"qwen1", "qwen2"}) {
    const tiny::TestFolder folder;
    tiny::make(family).write(folder / "m");
    BuildOptions options{.source = folder / "m", .output = folder / "e.quern", .dtype = "int8", .group_size = 32};
    const double plain = build_engine(options).receipt.at("quality").at("kl_mean").get<double>();
    for (const char* method : {"awq", "auto"}) {
      options.method = method;
      const BuildResult result = build_engine(options);
      EXPECT_LT(result.receipt.at("quality").at("kl_mean").get<double>(), 1.5 * plain) << family << ' ' << method;
      const auto file = EngineFile::open(options.output);
      file->verify(1);
      const Json& calibration = file->metadata().build.at("calibration");
      double moved = 0;
      for (const auto& [input, exponents] : calibration.at("channel_exponents").items()) {
        EXPECT_EQ(exponents.size(), 2U) << input;
        for (const Json& exponent : exponents) moved += exponent.get<double>();
      }
      EXPECT_GT(moved, 0) << family << ' ' << method << ": nothing was scaled, so nothing was tested";
    }
  }
}

// Wider formats are closer: what is measured is about the engine.
TEST(Receipt, FiguresFollowTheFormat) {
  const tiny::TestFolder folder;
  tiny::make("qwen3").write(folder / "m");
  double last = 0;
  for (const char* dtype : {"f16", "bf16", "int8", "int4"}) {
    const BuildResult result = build_engine({.source = folder / "m", .output = folder / "e.quern", .dtype = dtype});
    const std::optional<Quality> quality = measured_quality(result.receipt);
    ASSERT_TRUE(quality) << dtype;
    EXPECT_EQ(quality->tokens, quality->source_choices.size());
    EXPECT_GT(quality->kl_mean, last) << dtype;
    last = quality->kl_mean;
    const Json& errors = result.receipt.at("tensor_errors");
    EXPECT_EQ(errors.at("down").size(), 2U);
    EXPECT_GT(errors.at("down")[1].get<double>(), 0) << dtype;
  }
}

}  // namespace
}  // namespace quern
