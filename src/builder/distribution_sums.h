// One row of two models' logits over the same vocabulary, seen slice after slice: how far the second's distribution is from the first's,
// without either row ever being whole in memory. Nothing is clipped; sums are double. One thread a row.
#pragma once
#include <cstddef>
#include <span>

namespace quern {

class DistributionSums {
 public:
  // Logits of ids [begin, begin + p.size()); slices in the order of their ids.
  void add(std::span<const float> p, std::span<const float> q, size_t begin, size_t target);

  double divergence() const;  // of q from p, in nats
  double p_loss() const;      // negative log-probabilities of the target
  double q_loss() const;
  size_t p_choice() const { return p_.choice; }  // most likely ids; the lowest of equals
  size_t q_choice() const { return q_.choice; }

 private:
  struct Side {
    float most = -1e38F;
    double sum = 0;  // of exp(logit - most)
    size_t choice = 0;
    float target = 0;
    double log_sum() const;
  };
  Side p_, q_;
  double differences_ = 0;  // sum of exp(p - p_.most) * (p - q)
};

}  // namespace quern
