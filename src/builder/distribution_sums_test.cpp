// Sums over slices are those of the definition over the whole row.
#include "builder/distribution_sums.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace quern {
namespace {

TEST(DistributionSums, SlicesGiveTheDefinition) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 4);
  for (const size_t size : {1UL, 7UL, 300UL}) {
    std::vector<float> p(size), q(size);
    for (size_t i = 0; i < size; ++i) p[i] = normal(random) + static_cast<float>(i) * 0.1F, q[i] = p[i] + 0.2F * normal(random);
    double p_sum = 0, q_sum = 0, divergence = 0;
    for (size_t i = 0; i < size; ++i) p_sum += std::exp(static_cast<double>(p[i])), q_sum += std::exp(static_cast<double>(q[i]));
    for (size_t i = 0; i < size; ++i) {
      const double share = std::exp(static_cast<double>(p[i])) / p_sum;
      divergence += share * (std::log(share) - (q[i] - std::log(q_sum)));
    }
    for (const size_t slice : {1UL, 5UL, 1000UL}) {
      DistributionSums sums;
      const size_t target = size / 2;
      for (size_t begin = 0; begin < size; begin += slice) {
        const size_t count = std::min(slice, size - begin);
        sums.add(std::span(p).subspan(begin, count), std::span(q).subspan(begin, count), begin, target);
      }
      // Each of the terms is off by the rounding of a float difference and of exp: 2^-22 of it at the most.
      const double tolerance = 1e-6 * (1 + std::fabs(divergence)) + 40 * 0x1p-22;
      EXPECT_NEAR(sums.divergence(), divergence, tolerance) << size << ' ' << slice;
      EXPECT_NEAR(sums.p_loss(), std::log(p_sum) - p[target], 1e-5);
      EXPECT_NEAR(sums.q_loss(), std::log(q_sum) - q[target], 1e-5);
      EXPECT_EQ(sums.p_choice(), static_cast<size_t>(std::ranges::max_element(p) - p.begin()));
      EXPECT_EQ(sums.q_choice(), static_cast<size_t>(std::ranges::max_element(q) - q.begin()));
    }
  }
}

}  // namespace
}  // namespace quern
