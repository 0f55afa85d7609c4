// Channel scales: what the engine computes stays the same but for rounding, the chosen exponent is no worse than none on its own measure,
// and a plan of scaled inputs is the plan of the scaled moments.
#include "builder/channel_scale.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "builder/hessian.h"

namespace quern {
namespace {

constexpr size_t kTokens = 400, kColumns = 96, kRows = 80;

struct Problem {
  Backend backend{{.num_threads = 2}};
  std::vector<float> inputs, weights;
  Hessian hessian{kColumns};
  FeedbackPlan plan;
  std::vector<double> power;

  // Inputs that depend on each other; some channels are sixteen times as large.
  explicit Problem(std::span<const float> divisors = {}) : inputs(kTokens * kColumns), weights(kRows * kColumns), power(kColumns) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    for (size_t t = 0; t < kTokens; ++t) {
      float shared = normal(random);
      for (size_t i = 0; i < kColumns; ++i) {
        shared = 0.7F * shared + 0.7F * normal(random);
        inputs[t * kColumns + i] = shared * (i % 9 == 4 ? 16.F : 1.F);
        if (!divisors.empty()) inputs[t * kColumns + i] /= divisors[i];
      }
    }
    for (float& weight : weights) weight = 0.05F * normal(random);
    hessian.add({.data = reinterpret_cast<std::byte*>(inputs.data()), .shape = {kTokens, kColumns}}, backend);
    plan = plan_feedback(hessian, backend);
    for (size_t i = 0; i < kColumns; ++i) power[i] = hessian.diagonal(i);
  }
  // Of the outputs' error when the rounded matrix reads inputs that were divided by the factors.
  double cost(const std::vector<float>& rounded, std::span<const float> factors) const {
    double cost = 0;
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t t = 0; t < kTokens; ++t) {
        double off = 0;
        for (size_t i = 0; i < kColumns; ++i) {
          const double meant = static_cast<double>(rounded[r * kColumns + i]) / factors[i];
          off += (static_cast<double>(weights[r * kColumns + i]) - meant) * inputs[t * kColumns + i];
        }
        cost += off * off;
      }
    }
    return cost;
  }
};

TEST(ChannelScale, PlanOfScaledInputs) {
  const Problem problem;
  std::vector<float> factors(kColumns);
  for (size_t i = 0; i < kColumns; ++i) factors[i] = std::exp2(static_cast<float>(i % 5) - 2.F);  // exact in float32
  const FeedbackPlan scaled = scaled_plan(problem.plan, factors), again = scaled_plan(scaled, std::vector<float>(kColumns, 1.F));
  EXPECT_EQ(scaled.factor, again.factor);
  // F D F^T of the scaled plan is that of the plan, divided on both sides: exactly, for powers of two.
  for (size_t j = 0; j < kColumns; ++j) {
    const float own = factors[problem.plan.order[j]];
    EXPECT_EQ(scaled.weights[j], problem.plan.weights[j] / (own * own));
    EXPECT_EQ(scaled.column_weights[scaled.order[j]], scaled.weights[j]);
    for (size_t k = j; k < kColumns; ++k) {
      EXPECT_EQ(scaled.factor[j * kColumns + k], problem.plan.factor[j * kColumns + k] * (factors[problem.plan.order[k]] / own));
    }
  }
  const FeedbackPlan alone = without_feedback(problem.plan);
  double mean = 0;
  for (const double power : problem.power) mean += power / kColumns;
  for (size_t j = 0; j < kColumns; ++j) {
    const double wanted = problem.power[alone.order[j]] + 0.01 * mean;  // the diagonal with the first damping
    EXPECT_NEAR(alone.weights[j], wanted, 1e-4 * wanted);
  }
}

TEST(ChannelScale, MeasuredCostIsTheOutputs) {
  Problem problem;
  for (const Rounding rounding : {Rounding::by_itself, Rounding::with_feedback}) {
    std::vector<float> factors(kColumns), values = problem.weights;
    for (size_t i = 0; i < kColumns; ++i) factors[i] = i % 9 == 4 ? 2.F : 0.9F;
    multiply_columns(values, factors);
    const RoundedMatrix rounded = round_scaled(values, kRows, Format::i4g32, problem.plan, factors, rounding, problem.backend);
    const double cost = problem.cost(values, factors);
    EXPECT_GE(rounded.cost, cost * (1 - 1e-3));  // it counts the damping too
    EXPECT_LE(rounded.cost, cost * 1.5);
  }
}

TEST(ChannelScale, ChosenIsNoWorseThanNone) {
  Problem problem;
  const std::vector<float> ones(kColumns, 1.F);
  for (const Rounding rounding : {Rounding::by_itself, Rounding::with_feedback}) {
    const ScaledReader readers[] = {{problem.weights, kRows, Format::i4g32}};
    const ChannelScales scales = choose_channel_scales(readers, problem.plan, problem.power, rounding, problem.backend);
    std::vector<float> scaled = problem.weights, plain = problem.weights;
    multiply_columns(scaled, scales.factors);
    round_scaled(scaled, kRows, Format::i4g32, problem.plan, scales.factors, rounding, problem.backend);
    round_scaled(plain, kRows, Format::i4g32, problem.plan, ones, rounding, problem.backend);
    // The choice is made on 64 of the 80 rows; large channels among small ones gain much more than that leaves open.
    EXPECT_GT(scales.exponent, 0);
    EXPECT_LT(problem.cost(scaled, scales.factors), 0.9 * problem.cost(plain, ones));
    // Without inputs that differ there is nothing to choose.
    const std::vector<double> flat(kColumns, 1.0);
    EXPECT_EQ(choose_channel_scales(readers, problem.plan, flat, rounding, problem.backend).exponent, 0);
  }
}

}  // namespace
}  // namespace quern
