// Error feedback: the factor is the moments', the bytes mean the values, the cost is the error of the outputs, and it is less than that of
// rounding alone.
#include "builder/gptq.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "builder/group_scale.h"
#include "builder/hessian.h"
#include "builder/int4_scale.h"
#include "formats/list.h"

namespace quern {
namespace {

constexpr size_t kTokens = 300, kColumns = 128, kRows = 24;

struct Problem {
  Backend backend{{.num_threads = 2}};
  std::vector<float> inputs, weights;
  Hessian hessian{kColumns};

  // Inputs that depend on each other, of different sizes.
  Problem() : inputs(kTokens * kColumns), weights(kRows * kColumns) {
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    for (size_t t = 0; t < kTokens; ++t) {
      float shared = normal(random);
      for (size_t i = 0; i < kColumns; ++i) {
        shared = 0.8F * shared + 0.6F * normal(random);
        inputs[t * kColumns + i] = shared * (i % 7 == 0 ? 4.F : 1.F);
      }
    }
    for (float& weight : weights) weight = 0.05F * normal(random);
    for (size_t begin = 0; begin < kTokens; begin += 100) {
      hessian.add({.data = reinterpret_cast<std::byte*>(inputs.data() + begin * kColumns), .shape = {100, kColumns}}, backend);
    }
  }
  double moment(size_t i, size_t j) const {
    double sum = 0;
    for (size_t t = 0; t < kTokens; ++t) sum += static_cast<double>(inputs[t * kColumns + i]) * inputs[t * kColumns + j];
    return sum;
  }
  double cost(const std::vector<float>& rounded) const {
    double cost = 0;
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t t = 0; t < kTokens; ++t) {
        double off = 0;
        for (size_t i = 0; i < kColumns; ++i) {
          off += (static_cast<double>(weights[r * kColumns + i]) - rounded[r * kColumns + i]) * inputs[t * kColumns + i];
        }
        cost += off * off;
      }
    }
    return cost;
  }
};

TEST(Hessian, IsTheSecondMoments) {
  const Problem problem;
  std::vector<size_t> order(kColumns);
  for (size_t i = 0; i < kColumns; ++i) order[i] = (i * 5) % kColumns;
  const std::vector<float> h = problem.hessian.matrix(order, 0);
  for (size_t i = 0; i < kColumns; ++i) {
    for (size_t j = i; j < kColumns; ++j) {
      // A float32 sum of 300 products: 300 * 2^-24 of the products' magnitudes, which are at most the diagonals' mean.
      const double bound = 300 * 0x1p-24 * std::sqrt(problem.moment(order[i], order[i]) * problem.moment(order[j], order[j]));
      EXPECT_NEAR(h[i * kColumns + j], problem.moment(order[i], order[j]), bound);
    }
  }
}

TEST(Hessian, FactorGivesTheMatrixBack) {
  Problem problem;
  std::vector<size_t> order(kColumns);
  for (size_t i = 0; i < kColumns; ++i) order[i] = i;
  const std::vector<float> h = problem.hessian.matrix(order, 0.01);
  std::vector<float> u = h;
  ASSERT_TRUE(factor_upper(u, kColumns, problem.backend));
  for (size_t i = 0; i < kColumns; ++i) {
    for (size_t j = i; j < kColumns; ++j) {
      double sum = 0;
      for (size_t k = j; k < kColumns; ++k) sum += static_cast<double>(u[i * kColumns + k]) * u[j * kColumns + k];
      // Backward error of a Cholesky factor: (n + 1) * 2^-24 of the diagonals' mean.
      EXPECT_NEAR(sum, h[i * kColumns + j], 129 * 0x1p-24 * std::sqrt(static_cast<double>(h[i * kColumns + i]) * h[j * kColumns + j]));
    }
  }
  std::vector<float> indefinite = {1, 2, 2, 1};
  EXPECT_FALSE(factor_upper(indefinite, 2, problem.backend));
}

TEST(Feedback, BytesMeanTheValuesAndCostLess) {
  Problem problem;
  const FeedbackPlan plan = plan_feedback(problem.hessian, problem.backend);
  double last = 0;
  for (const Format format : {Format::i4g128, Format::i4g64, Format::i4g32, Format::i4g32z, Format::q5_0, Format::i8g32}) {
    ASSERT_TRUE(has_feedback_form(format, kColumns));
    std::vector<float> values = problem.weights, plain(kColumns), by_itself;
    const RoundedMatrix rounded = round_with_feedback(values, kRows, format, plan, problem.backend);
    const size_t bytes = row_bytes(format, kColumns);
    std::vector<std::byte> row(bytes);
    for (size_t r = 0; r < kRows; ++r) {
      std::vector<float> meant(kColumns);
      format_info(format).unpack(rounded.rows.data() + r * bytes, kColumns, meant.data());
      EXPECT_EQ(meant, std::vector<float>(values.begin() + static_cast<ptrdiff_t>(r * kColumns),
                                          values.begin() + static_cast<ptrdiff_t>((r + 1) * kColumns)));
      pack_row(format_info(format), problem.weights.data() + r * kColumns, kColumns, row.data());
      format_info(format).unpack(row.data(), kColumns, plain.data());
      by_itself.insert(by_itself.end(), plain.begin(), plain.end());
    }
    const double cost = problem.cost(values);
    EXPECT_LT(cost, 0.6 * problem.cost(by_itself)) << format_name(format);
    EXPECT_GE(rounded.cost, cost * (1 - 1e-3));  // it counts the damping too
    EXPECT_LE(rounded.cost, cost * 1.5);
    if (last != 0) {
      EXPECT_LT(cost, last) << format_name(format);  // smaller groups, then zero points
    }
    last = cost;
  }
  EXPECT_FALSE(has_feedback_form(Format::i4g128, 96));
  EXPECT_FALSE(has_feedback_form(Format::q4_k, 256));
}

TEST(GroupScale, IsNoWorseThanThePlainOne) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  const std::vector<float> ones(32, 1.F);
  for (int round = 0; round < 100; ++round) {
    std::vector<float> values(32), plain(32);
    for (float& value : values) value = normal(random) + (round % 2 == 0 ? 0 : 2.F);
    for (const bool with_zero : {false, true}) {
      const GroupScale group = find_group_scale(values.data(), ones.data(), 32, 4, with_zero);
      const FormatInfo& format = format_info(with_zero ? Format::i4g32z : Format::i4g32);
      std::vector<std::byte> row(format.block_bytes);
      format.pack(values.data(), 32, row.data());
      format.unpack(row.data(), 32, plain.data());
      double own = 0, other = 0;
      for (size_t i = 0; i < 32; ++i) {
        own += std::pow(group.value(group.code(values[i])) - values[i], 2);
        other += std::pow(plain[i] - values[i], 2);
      }
      EXPECT_LE(own, other * 1.0001);
    }
  }
  const std::vector<float> zeros(32, 0.F);
  EXPECT_EQ(
      find_group_scale(zeros.data(), ones.data(), 32, 4, true).value(find_group_scale(zeros.data(), ones.data(), 32, 4, true).code(0)), 0);
}

}  // namespace
}  // namespace quern
