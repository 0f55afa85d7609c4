#include "builder/channel_scale.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/thread_pool.h"
#include "builder/matrix_product.h"

namespace quern {
namespace {

constexpr double kExponents[] = {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8};
constexpr size_t kSampleRows = 64;     // of each matrix, spread evenly
constexpr double kLargestFactor = 64;  // and its inverse: f16 scales of groups keep their precision
constexpr double kLeastPower = 1e-8;   // of a channel, as share of the mean: what is never used weighs nothing

std::vector<float> factors_of(std::span<const double> power, double exponent) {
  double mean = 0;
  for (const double p : power) mean += p / static_cast<double>(power.size());
  std::vector<double> logs(power.size());
  double middle = 0;
  for (size_t i = 0; i < power.size(); ++i) {
    logs[i] = mean > 0 ? exponent / 2 * std::log(std::max(power[i], kLeastPower * mean)) : 0;
    middle += logs[i] / static_cast<double>(power.size());
  }
  std::vector<float> factors(power.size());
  for (size_t i = 0; i < power.size(); ++i) {
    factors[i] = static_cast<float>(std::clamp(std::exp(logs[i] - middle), 1 / kLargestFactor, kLargestFactor));
  }
  return factors;
}

// Rows spread evenly over a matrix.
std::vector<float> sample_of(const ScaledReader& reader, size_t columns) {
  const size_t count = std::min(reader.rows, kSampleRows);
  std::vector<float> rows;
  rows.reserve(count * columns);
  for (size_t i = 0; i < count; ++i) {
    const std::span<const float> row = reader.values.subspan(i * reader.rows / count * columns, columns);
    rows.insert(rows.end(), row.begin(), row.end());
  }
  return rows;
}

// Power of the outputs of `errors` [rows, columns]: of e H e^T, by the factors of H.
double output_power(std::span<const float> errors, const FeedbackPlan& plan, Backend& backend) {
  const size_t n = plan.columns, rows = errors.size() / n;
  ThreadPool& pool = *backend.runtime().stream().pool;
  std::vector<float> ordered(errors.size()), turned(n * n), sums(errors.size());
  pool.parallel_for(rows, 8, [&](size_t from, size_t to) {
    for (size_t r = from; r < to; ++r) {
      for (size_t k = 0; k < n; ++k) ordered[r * n + k] = errors[r * n + plan.order[k]];
    }
  });
  pool.parallel_for(n, 16, [&](size_t from, size_t to) {
    for (size_t j = 0; j < n; ++j) {
      for (size_t k = std::max(j, from); k < to; ++k) turned[k * n + j] = plan.factor[j * n + k];
    }
  });
  multiply_rows(ordered, turned, n, sums, backend);
  double power = 0;
  for (size_t i = 0; i < sums.size(); ++i) power += static_cast<double>(plan.weights[i % n]) * sums[i] * sums[i];
  return power;
}

}  // namespace

void multiply_columns(std::span<float> values, std::span<const float> factors) {
  for (size_t begin = 0; begin < values.size(); begin += factors.size()) {
    for (size_t i = 0; i < factors.size(); ++i) values[begin + i] *= factors[i];
  }
}

RoundedMatrix round_scaled(std::span<float> values, size_t num_rows, Format format, const FeedbackPlan& plan,
                           std::span<const float> factors, Rounding rounding, Backend& backend) {
  if (rounding == Rounding::with_feedback) {
    const bool is_scaled = std::ranges::any_of(factors, [](float factor) { return factor != 1; });
    return round_with_feedback(values, num_rows, format, is_scaled ? scaled_plan(plan, factors) : plan, backend);
  }
  std::vector<float> errors(values.begin(), values.end());
  RoundedMatrix rounded = round_with_feedback(values, num_rows, format, scaled_plan(without_feedback(plan), factors), backend);
  for (size_t i = 0; i < errors.size(); ++i) errors[i] = (errors[i] - values[i]) / factors[i % plan.columns];
  rounded.cost = output_power(errors, plan, backend);
  return rounded;
}

ChannelScales choose_channel_scales(std::span<const ScaledReader> readers, const FeedbackPlan& plan, std::span<const double> power,
                                    Rounding rounding, Backend& backend) {
  CHECK(power.size() == plan.columns, "{} powers of {} columns", power.size(), plan.columns);
  std::vector<std::vector<float>> samples;
  for (const ScaledReader& reader : readers) samples.push_back(sample_of(reader, plan.columns));
  ChannelScales best;
  double least = INFINITY;
  for (const double exponent : kExponents) {
    std::vector<float> factors = factors_of(power, exponent);
    double cost = 0;
    for (size_t i = 0; i < readers.size(); ++i) {
      std::vector<float> rows = samples[i];
      multiply_columns(rows, factors);
      const size_t count = rows.size() / plan.columns;
      const double share = static_cast<double>(readers[i].rows) / static_cast<double>(count);
      cost += share * round_scaled(rows, count, readers[i].format, plan, factors, rounding, backend).cost;
    }
    if (cost < least) {
      least = cost;
      best = {exponent, std::move(factors)};
    }
  }
  CHECK(!best.factors.empty(), "no cost of {} matrices is a number", readers.size());
  return best;
}

}  // namespace quern
