#include "eval/log_softmax.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace quern {
double log_sum_exp(std::span<const float> logits) {
  const float most = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - most);
  return most + std::log(sum);
}

RowDivergence diverge(std::span<const float> p, std::span<const float> q, size_t target) {
  CHECK(p.size() == q.size() && target < p.size(), "{} and {} logits, target {}", p.size(), q.size(), target);
  const double p_log_sum = log_sum_exp(p), q_log_sum = log_sum_exp(q);
  RowDivergence row{.p_target = p[target] - p_log_sum, .q_target = q[target] - q_log_sum};
  const auto shift = static_cast<float>(p_log_sum);
  for (size_t i = 0; i < p.size(); ++i) {
    const double log_ratio = (p[i] - p_log_sum) - (q[i] - q_log_sum);
    row.kl += static_cast<double>(std::exp(p[i] - shift)) * log_ratio;
  }
  row.p_choice = static_cast<size_t>(std::ranges::max_element(p) - p.begin());
  row.q_choice = static_cast<size_t>(std::ranges::max_element(q) - q.begin());
  return row;
}

}  // namespace quern
