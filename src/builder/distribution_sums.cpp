#include "builder/distribution_sums.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace quern {

double DistributionSums::Side::log_sum() const { return most + std::log(sum); }

void DistributionSums::add(std::span<const float> p, std::span<const float> q, size_t begin, size_t target) {
  CHECK(p.size() == q.size(), "{} and {} logits", p.size(), q.size());
  const auto raise_most = [&](Side& side, std::span<const float> logits) {
    const auto largest = std::ranges::max_element(logits);
    if (largest == logits.end() || *largest <= side.most) return 1.0;
    const double factor = std::exp(static_cast<double>(side.most) - *largest);
    side.most = *largest;
    side.choice = begin + static_cast<size_t>(largest - logits.begin());
    side.sum *= factor;
    return factor;
  };
  differences_ *= raise_most(p_, p);
  raise_most(q_, q);
  for (size_t i = 0; i < p.size(); ++i) {
    const auto weight = static_cast<double>(std::exp(p[i] - p_.most));
    p_.sum += weight;
    differences_ += weight * (static_cast<double>(p[i]) - q[i]);
    q_.sum += static_cast<double>(std::exp(q[i] - q_.most));
  }
  if (target >= begin && target - begin < p.size()) p_.target = p[target - begin], q_.target = q[target - begin];
}

double DistributionSums::divergence() const { return differences_ / p_.sum - p_.log_sum() + q_.log_sum(); }
double DistributionSums::p_loss() const { return p_.log_sum() - p_.target; }
double DistributionSums::q_loss() const { return q_.log_sum() - q_.target; }

}  // namespace quern
