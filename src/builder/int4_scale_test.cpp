// The searched scales of 4-bit groups: never worse than the plain ones, better by the expected share on normals, sound at the edges.
#include "builder/int4_scale.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "formats/list.h"

namespace quern {
namespace {

double squared_error(const FormatInfo& format, const std::vector<float>& values, const std::vector<std::byte>& row) {
  std::vector<float> back(values.size());
  format.unpack(row.data(), back.size(), back.data());
  double sum = 0;
  for (size_t i = 0; i < back.size(); ++i) sum += std::pow(static_cast<double>(back[i]) - values[i], 2);
  return sum;
}

std::vector<std::byte> packed(const FormatInfo& format, const std::vector<float>& values, bool is_searched) {
  std::vector<std::byte> row(row_bytes(format.format, values.size()));
  if (is_searched) {
    pack_row(format, values.data(), values.size(), row.data());
  } else {
    format.pack(values.data(), values.size(), row.data());
  }
  return row;
}

TEST(Int4Scale, NeverWorseThanPlainAndBetterOnNormals) {
  // rms error of unit normals, measured on 1e6 of them; the plain pack has 0.0859, 0.0949, 0.1032 (formats/int4.h).
  const std::pair<Format, double> kMeasured[] = {{Format::i4g32, 0.0822}, {Format::i4g64, 0.0906}, {Format::i4g128, 0.0971}};
  for (const auto& [id, want] : kMeasured) {
    const FormatInfo& format = format_info(id);
    std::mt19937 bits(5);
    std::normal_distribution<float> normal;
    double sum = 0;
    size_t count = 0;
    for (int group = 0; group < 2000; ++group, count += format.block_values) {
      std::vector<float> values(format.block_values);
      for (float& value : values) value = normal(bits);
      const double searched = squared_error(format, values, packed(format, values, true));
      // The search sums in f32: two scales whose errors agree to N * 2^-24 may be exchanged.
      ASSERT_LE(searched, squared_error(format, values, packed(format, values, false)) * (1 + 1e-4)) << format.name << ' ' << group;
      sum += searched;
    }
    EXPECT_NEAR(std::sqrt(sum / static_cast<double>(count)), want, 0.02 * want) << format.name;
  }
}

TEST(Int4Scale, EdgeGroups) {
  const FormatInfo& format = format_info(Format::i4g32);
  const auto round_trip = [&](const std::vector<float>& values) {
    const std::vector<std::byte> row = packed(format, values, true);
    std::vector<float> back(values.size());
    format.unpack(row.data(), back.size(), back.data());
    return back;
  };
  EXPECT_EQ(round_trip(std::vector<float>(64, 0.F)), std::vector<float>(64, 0.F));
  std::vector<float> exact(32);  // multiples of a scale that f16 has: nothing to round
  for (size_t i = 0; i < 32; ++i) exact[i] = 0.25F * static_cast<float>(static_cast<int>(i % 16) - 8);
  EXPECT_EQ(round_trip(exact), exact);
  for (float& value : exact) value = -value;  // the codes' longer side on the other sign
  EXPECT_EQ(round_trip(exact), exact);
  for (const float tiny : {1e-8F, 1e-30F, 1e-42F}) {  // the scale is below what f16 has: zeros, and not noise
    for (const float value : round_trip(std::vector<float>(32, tiny)))
      EXPECT_LE(std::fabs(value - tiny), std::fabs(tiny) + 0x1p-25) << tiny;
  }
}

TEST(Int4Scale, OtherFormatsArePackedAsTheySay) {
  std::vector<float> values(256);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));
  for (const FormatInfo& format : kFormats) {
    const bool is_searched = format.format == Format::i4g32 || format.format == Format::i4g64 || format.format == Format::i4g128;
    if (is_searched || format.pack == nullptr) continue;
    EXPECT_EQ(packed(format, values, true), packed(format, values, false)) << format.name;
  }
}

}  // namespace
}  // namespace quern
