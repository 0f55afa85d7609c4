#include "builder/group_scale.h"

#include <algorithm>
#include <cmath>

#include "base/float16.h"

namespace quern {
namespace {

constexpr float kLeast = 0.65F, kStep = 0.025F;  // shares of the full range that are tried: 0.65 to 1.05, 1 among them
constexpr int kSteps = 17;
constexpr int kRefinements = 2;

float as_f16(float scale) { return f16_to_f32(f32_to_f16(std::clamp(scale, -65504.F, 65504.F))); }

double cost_of(const GroupScale& group, const float* values, const float* weights, size_t count) {
  double cost = 0;
  for (size_t i = 0; i < count; ++i) {
    const float error = group.value(group.code(values[i])) - values[i];
    cost += static_cast<double>(weights[i] * error * error);
  }
  return cost;
}

class Search {
 public:
  Search(const float* values, const float* weights, size_t count) : values_(values), weights_(weights), count_(count) {}

  void consider(GroupScale group) {
    group.scale = as_f16(group.scale);
    if (group.scale == 0) return;
    const double cost = cost_of(group, values_, weights_, count_);
    if (cost < least_) least_ = cost, best_ = group;
  }
  // The scale of least cost for the codes that the best one gives.
  void refine() {
    for (int round = 0; round < kRefinements; ++round) {
      double product = 0, square = 0;
      for (size_t i = 0; i < count_; ++i) {
        const double code = best_.code(values_[i]) - best_.zero;
        product += weights_[i] * code * values_[i];
        square += weights_[i] * code * code;
      }
      if (square > 0) consider({static_cast<float>(product / square), best_.zero});
    }
  }
  const GroupScale& best() const { return best_; }

 private:
  const float* values_;
  const float* weights_;
  size_t count_;
  GroupScale best_;
  double least_ = INFINITY;
};

}  // namespace

int GroupScale::code(float value) const {
  if (scale == 0) return zero;
  const float place = value / scale + static_cast<float>(zero);
  return static_cast<int>(std::nearbyint(std::clamp(place, 0.F, 15.F)));
}

GroupScale find_group_scale(const float* values, const float* weights, size_t count, bool with_zero) {
  float low = 0, high = 0;
  for (size_t i = 0; i < count; ++i) {
    low = std::min(low, values[i]);
    high = std::max(high, values[i]);
  }
  Search search(values, weights, count);
  for (int step = 0; step < kSteps; ++step) {
    const float share = kLeast + kStep * static_cast<float>(step);
    if (with_zero) {
      const float scale = share * (high - low) / 15;
      if (scale <= 0) continue;
      const int zero = static_cast<int>(std::nearbyint(std::clamp(-share * low / scale, 0.F, 15.F)));
      for (const int shift : {-1, 0, 1}) {
        if (zero + shift >= 0 && zero + shift <= 15) search.consider({scale, zero + shift});
      }
    } else {
      // The side of eight codes goes to the sign that needs it; a negative scale turns the sides.
      for (const float extreme : {low, -high}) search.consider({share * extreme / -8, 8}), search.consider({share * extreme / 8, 8});
    }
  }
  search.refine();
  return search.best();
}

}  // namespace quern
