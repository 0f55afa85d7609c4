// Patterns, rules of --keep, and how a budget of bytes is spent.
#include "builder/format_rules.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "builder/build.h"
#include "builder/sensitivity.h"
#include "builder/tiny_checkpoint.h"
#include "files/engine_file.h"
#include "formats/list.h"

namespace quern {
namespace {

struct PatternCase {
  const char* name;
  const char* pattern;
  bool matches;
};
constexpr PatternCase kPatterns[] = {
    {"blk.3.down", "blk.3.down", true},
    {"blk.3.down", "blk.*.down", true},
    {"blk.13.down", "blk.3.down", false},
    {"blk.3.down", "*", true},
    {"blk.3.down", "*down", true},
    {"blk.3.down", "*dow", false},
    {"blk.3.down", "blk.*", true},
    {"blk.3.down", "", false},
    {"", "*", true},
    {"", "", true},
    {"aab", "a*ab", true},
    {"abab", "*ab", true},
    {"abac", "*ab", false},
    {"blk.3.down", "**.down**", true},
    {"aaaaaaaaaaaaaaaaaaaaaaaac", "*a*a*a*a*a*a*b", false},
};

TEST(FormatRules, PatternsMatchWholeNames) {
  for (const PatternCase& c : kPatterns) EXPECT_EQ(matches_pattern(c.name, c.pattern), c.matches) << c.name << ' ' << c.pattern;
}

std::string error_of(const BuildOptions& options) {
  try {
    build_engine(options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), usage);
    return error.message();
  }
  return "no error";
}

TEST(FormatRules, KeepChoosesFormats) {
  const tiny::TestFolder folder;
  tiny::make("qwen2").write(folder / "m");
  BuildOptions options{.source = folder / "m", .output = folder / "e.quern", .dtype = "int4", .receipt = false};
  options.keep = {"blk.*.down=int8", "blk.1.down=q5_0", "head=f16", "*.q=source"};
  for (const char* method : {"rtn", "gptq"}) {
    options.method = method;
    build_engine(options);
    const auto file = EngineFile::open(folder / "e.quern");
    const std::pair<const char*, const char*> kWanted[] = {{"blk.0.down", "i8g32"}, {"blk.1.down", "q5_0"}, {"head", "f16"},
                                                           {"blk.0.q", "f32"},      {"blk.0.k", "i4g32"},   {"embed", "i8g32"}};
    for (const auto& [name, format] : kWanted) EXPECT_STREQ(format_name(file->find(name)->format), format) << method << name;
    file->verify(1);
  }
  const std::pair<const char*, const char*> kRefused[] = {{"blk.9.down=f16", "want a pattern that some matrix has"},
                                                          {"norm=f16", "want a pattern that some matrix has"},
                                                          {"head", "want PATTERN=FORMAT"},
                                                          {"=f16", "want PATTERN=FORMAT"},
                                                          {"head=int3", "found 'int3'"},
                                                          {"head=q4_k", "whole blocks of 256 values"}};
  for (const auto& [rule, message] : kRefused) {
    options.keep = {rule};
    EXPECT_NE(error_of(options).find(message), std::string::npos) << error_of(options);
  }
}

TEST(FormatRules, BytesGoWhereTheySaveMost) {
  const std::vector<TensorCosts> tensors = {
      {0, {{Format::i4g32, 100, 1.0}, {Format::q5_0, 120, 0.3}, {Format::i8g32, 200, 0.01}}},
      {1, {{Format::i4g32, 100, 9.0}, {Format::q5_0, 120, 3.0}, {Format::i8g32, 200, 0.1}}},
      {2, {{Format::i4g32, 100, 0.0}}},
  };
  using Formats = std::vector<Format>;
  EXPECT_EQ(spend_bytes(tensors, 300), (Formats{Format::i4g32, Format::i4g32, Format::i4g32}));
  EXPECT_EQ(spend_bytes(tensors, 320), (Formats{Format::i4g32, Format::q5_0, Format::i4g32}));
  EXPECT_EQ(spend_bytes(tensors, 420), (Formats{Format::q5_0, Format::i8g32, Format::i4g32}));
  EXPECT_EQ(spend_bytes(tensors, 1000), (Formats{Format::i8g32, Format::i8g32, Format::i4g32}));
  EXPECT_THROW(spend_bytes(tensors, 299), Error);
}

TEST(FormatRules, BudgetIsKept) {
  const tiny::TestFolder folder;
  tiny::make("qwen3").write(folder / "m");
  BuildOptions options{.source = folder / "m", .output = folder / "e.quern", .dtype = "int4", .receipt = true};
  std::string bytes;
  double last = 1e9;
  for (const double bits : {5.0, 6.0, 8.0}) {
    options.target_bits = bits;
    for (const size_t threads : {1UL, 3UL}) {
      if (threads != 1 && bits != 6) continue;
      options.num_threads = threads;
      const BuildResult result = build_engine(options);
      EXPECT_LE(result.bits_per_weight, bits);
      EXPECT_GT(result.bits_per_weight, bits - 1);
      if (threads == 1) bytes = tiny::read_file(options.output);
      EXPECT_TRUE(tiny::read_file(options.output) == bytes) << bits << ": the same bytes whatever the number of threads";
      if (threads != 1) continue;
      const double kl = result.receipt.at("quality").at("kl_mean").get<double>();
      EXPECT_LT(kl, last) << bits;
      last = kl;
    }
  }
  options.target_bits = 3;
  EXPECT_NE(error_of(options).find("--target-bpw"), std::string::npos);
  options.target_bits = 6;
  options.dtype = "int8";
  EXPECT_NE(error_of(options).find("want --dtype int4"), std::string::npos);
}

}  // namespace
}  // namespace quern
