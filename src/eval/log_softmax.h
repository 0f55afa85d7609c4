// Log-probabilities of one row of logits over the whole vocabulary, nothing clipped: float32 terms, sums in double.
// Pure functions, any thread.
#pragma once
#include <cstddef>
#include <span>

namespace quern {

// log(sum of exp(logits)).
double log_sum_exp(std::span<const float> logits);

// How far a distribution q is from p, both given by logits over the same vocabulary.
struct RowDivergence {
  double kl = 0;        // of q from p, in nats: sum of p * (log p - log q)
  double p_target = 0;  // log-probabilities of the target
  double q_target = 0;
  size_t p_choice = 0, q_choice = 0;  // most likely ids; the lowest of equals
};
RowDivergence diverge(std::span<const float> p, std::span<const float> q, size_t target);

}  // namespace quern
