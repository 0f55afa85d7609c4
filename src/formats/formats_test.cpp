// Every format of the list: rounding error as derived, values as GGUF means them to the bit, and no bad number out of any good one.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/json.h"
#include "base/mapped_file.h"
#include "formats/list.h"
#include "source_dir.h"

namespace quern {
namespace {

std::vector<float> round_trip(const FormatInfo& format, const std::vector<float>& values) {
  std::vector<std::byte> row(row_bytes(format.format, values.size()));
  std::vector<float> out(values.size());
  format.pack(values.data(), values.size(), row.data());
  format.unpack(row.data(), values.size(), out.data());
  return out;
}

TEST(Formats, ListIsInOrderAndNamesAreFound) {
  size_t i = 0;
  for (const FormatInfo& format : kFormats) {
    EXPECT_EQ(static_cast<size_t>(format.format), i++) << format.name;
    EXPECT_EQ(find_format(format.name), format.format);
    EXPECT_STREQ(format_name(format.format), format.name);
    with_format(format.format, [&]<class F>() { EXPECT_STREQ(F::kName, format.name); });
  }
  EXPECT_EQ(i, static_cast<size_t>(Format::q6_k) + 1);
  EXPECT_EQ(find_format("q4"), std::nullopt);
  EXPECT_EQ(find_format(""), std::nullopt);
}

TEST(Formats, RoundTripErrorOfUnitNormalsIsTheTablesFigure) {
  // Rows of 4096, since the scale of i8 is a row's. 2^20 values: the rms of N errors is within 1 / sqrt(2 N) = 0.1 % of its mean; 5 % is
  // what the derivations leave out (see each file).
  constexpr size_t kColumns = 4096, kRows = 256;
  std::mt19937_64 random(7);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> rows(kRows, std::vector<float>(kColumns));
  for (std::vector<float>& row : rows) {
    for (float& value : row) value = normal(random);
  }
  for (const FormatInfo& format : kFormats) {
    double sum = 0;
    for (const std::vector<float>& row : rows) {
      const std::vector<float> out = round_trip(format, row);
      for (size_t i = 0; i < kColumns; ++i) sum += std::pow(static_cast<double>(out[i]) - static_cast<double>(row[i]), 2);
    }
    const double error = std::sqrt(sum / (kColumns * kRows));
    EXPECT_NEAR(error, format.rounding_error, 0.05 * format.rounding_error) << format.name;
  }
}

TEST(Formats, ValuesAreGgufsToTheBit) {
  const Json goldens = parse_json(read_text_file(source_dir() + "/tests/goldens/formats.json", 1 << 20), "formats.json");
  const auto bytes_of = [](const std::string& hex) {
    std::vector<std::byte> bytes;
    for (size_t i = 0; i + 1 < hex.size(); i += 2) bytes.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    return bytes;
  };
  EXPECT_EQ(goldens.size(), 12U);
  for (const auto& [name, golden] : goldens.items()) {
    const std::optional<Format> format = find_format(name);
    ASSERT_TRUE(format) << name;
    const std::vector<std::byte> row = bytes_of(golden.at("row").get<std::string>()),
                                 want = bytes_of(golden.at("values").get<std::string>());
    std::vector<float> values(want.size() / sizeof(float));
    ASSERT_GE(values.size(), 2U);
    ASSERT_EQ(row_bytes(*format, values.size()), row.size()) << name;
    format_info(*format).unpack(row.data(), values.size(), values.data());
    EXPECT_EQ(std::memcmp(values.data(), want.data(), want.size()), 0) << name;
  }
}

TEST(Formats, PackOfUnpackedValuesKeepsThem) {
  // A row that came out of unpack lies on the format's grid; packing it again may choose another grid only where the extreme code is not in
  // use, and then errs by at most one step of the new grid, which is never wider than the old one.
  std::mt19937_64 random(11);
  std::normal_distribution<float> normal;
  std::vector<float> values(1024);
  for (float& value : values) value = normal(random);
  for (const FormatInfo& format : kFormats) {
    const std::vector<float> once = round_trip(format, values), twice = round_trip(format, once);
    double moved = 0;
    for (size_t i = 0; i < values.size(); ++i) moved += std::pow(static_cast<double>(twice[i]) - static_cast<double>(once[i]), 2);
    EXPECT_LE(std::sqrt(moved / static_cast<double>(values.size())), format.rounding_error) << format.name;
  }
}

TEST(Formats, ZerosStayZero) {
  for (const FormatInfo& format : kFormats) {
    for (const float value : round_trip(format, std::vector<float>(512, 0.F))) ASSERT_EQ(value, 0.F) << format.name;
  }
}

TEST(Formats, ExtremesAndDenormalsGiveFiniteValues) {
  struct Case {
    const char* name;
    std::vector<float> pattern;
  };
  constexpr float kMax = std::numeric_limits<float>::max(), kMin = std::numeric_limits<float>::min();
  constexpr float kDenormal = std::numeric_limits<float>::denorm_min();
  const Case cases[] = {
      {"largest", {kMax, -kMax, 0.F, 1.F}},
      {"one sided", {kMax, kMax, kMax, kMax}},
      {"beyond f16", {1e6F, -2e6F, 3.F, 0.F}},
      {"smallest", {kMin, -kMin, 0.F, kMin}},
      {"denormal", {kDenormal, -kDenormal, 0.F, kDenormal * 3}},
      {"near f16's denormals", {1e-7F, -2e-8F, 6e-8F, 0.F}},
      {"constant", {0.25F, 0.25F, 0.25F, 0.25F}},
      {"negative", {-1.F, -2.F, -3.F, -4.F}},
      {"one among tiny", {1.F, 1e-30F, -1e-30F, 0.F}},
  };
  for (const FormatInfo& format : kFormats) {
    for (const Case& c : cases) {
      std::vector<float> values(512);
      for (size_t i = 0; i < values.size(); ++i) values[i] = c.pattern[i % c.pattern.size()];
      const float most = max_magnitude(values.data(), values.size());
      for (const float value : round_trip(format, values)) {
        if (format.format == Format::f16 && most > 65504.F) continue;  // f16 has infinities: the builder refuses to narrow to them
        ASSERT_TRUE(std::isfinite(value) || (format.format == Format::bf16 && most == kMax)) << format.name << ' ' << c.name;
        if (most <= 65504.F) {
          ASSERT_LE(std::fabs(value), 1.15F * most + 1e-5F) << format.name << ' ' << c.name;
        }
      }
    }
  }
}

TEST(Formats, NanAndInfinityPackWithoutUndefinedBehaviour) {
  for (const FormatInfo& format : kFormats) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
      std::vector<float> values(512, 1.F);
      values[3] = bad;
      EXPECT_EQ(round_trip(format, values).size(), values.size());
      EXPECT_EQ(round_trip(format, std::vector<float>(256, bad)).size(), 256U);
    }
  }
}

TEST(Formats, RowBytesOfAPartialBlockIsABrokenInvariant) {
  EXPECT_EQ(row_bytes(Format::q4_k, 512), 288U);
  EXPECT_EQ(row_bytes(Format::i8, 100), 104U);
  EXPECT_THROW(row_bytes(Format::q4_k, 300), Error);
}

}  // namespace
}  // namespace quern
