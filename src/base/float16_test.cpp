// Proves the 16-bit conversions over every bit pattern and at the points where rounding changes.
#include "base/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace quern {
namespace {

TEST(Float16, EveryF16SurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = f16_to_f32(static_cast<F16Bits>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(value))));
    } else {
      ASSERT_EQ(f32_to_f16(value), bits);
    }
  }
}

TEST(Float16, EveryBf16SurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = bf16_to_f32(static_cast<Bf16Bits>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(value))));
    } else {
      ASSERT_EQ(f32_to_bf16(value), bits);
    }
  }
}

TEST(Float16, RoundsHalfToEven) {
  EXPECT_EQ(f32_to_f16(1 + 0x1p-11F), 0x3c00);      // halfway: to the even 1
  EXPECT_EQ(f32_to_f16(1 + 3 * 0x1p-11F), 0x3c02);  // halfway: to the even neighbour above
  EXPECT_EQ(f32_to_f16(1 + 0x1p-11F + 0x1p-20F), 0x3c01);
  EXPECT_EQ(f32_to_f16(65519.996F), 0x7bff);  // largest finite
  EXPECT_EQ(f32_to_f16(65520.F), 0x7c00);     // to infinity
  EXPECT_EQ(f32_to_f16(0x1p-25F), 0x0000);    // half of the smallest subnormal: to zero
  EXPECT_EQ(f32_to_f16(0x1.8p-25F), 0x0001);
  EXPECT_EQ(f32_to_bf16(1 + 0x1p-8F), 0x3f80);
  EXPECT_EQ(f32_to_bf16(1 + 3 * 0x1p-8F), 0x3f82);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
}

}  // namespace
}  // namespace quern
