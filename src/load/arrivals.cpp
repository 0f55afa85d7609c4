#include "load/arrivals.h"

#include <cmath>
#include <random>

namespace quern {

std::vector<double> arrival_times(size_t count, double rate, double burstiness, uint64_t seed) {
  std::vector<double> times(count);
  if (!std::isfinite(rate) || count < 2) return times;
  std::mt19937_64 random(seed);
  std::gamma_distribution<double> gap(burstiness, 1 / (rate * burstiness));
  for (size_t i = 1; i < count; ++i) times[i] = times[i - 1] + gap(random);
  const double scale = times.back() > 0 ? static_cast<double>(count - 1) / rate / times.back() : 0;
  for (double& time : times) time *= scale;
  return times;
}

}  // namespace quern
