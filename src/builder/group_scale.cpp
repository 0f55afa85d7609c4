#include "builder/group_scale.h"

#include <algorithm>
#include <cmath>

#include "base/float16.h"

namespace quern {
namespace {

// Shares of the full range that are tried: 1, two steps above it and the rest below. Cutting off the extremes pays where a step is wide.
constexpr int kSteps = 17, kStepsAbove = 2;
constexpr float step_of(int bits) { return bits == 4 ? 0.025F : bits == 5 ? 0.0125F : 0.0025F; }
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
  Search(const float* values, const float* weights, size_t count, const GroupScale& none)
      : values_(values), weights_(weights), count_(count), best_(none) {}

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
      if (square > 0) consider({static_cast<float>(product / square), best_.zero, best_.most});
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
  return static_cast<int>(std::nearbyint(std::clamp(place, 0.F, static_cast<float>(most))));
}

GroupScale find_group_scale(const float* values, const float* weights, size_t count, int bits, bool with_zero) {
  float low = 0, high = 0;
  for (size_t i = 0; i < count; ++i) {
    low = std::min(low, values[i]);
    high = std::max(high, values[i]);
  }
  // Eight bits are those of i8, -127 to 127: the middle has as many codes on either side.
  const int middle = bits == 8 ? 127 : 1 << (bits - 1), most = bits == 8 ? 254 : (1 << bits) - 1;
  Search search(values, weights, count, {0, middle, most});
  for (int step = 0; step < kSteps; ++step) {
    const float share = 1 + step_of(bits) * static_cast<float>(kStepsAbove - step);
    if (with_zero) {
      const float scale = share * (high - low) / static_cast<float>(most);
      if (scale <= 0) continue;
      const int zero = static_cast<int>(std::nearbyint(std::clamp(-share * low / scale, 0.F, static_cast<float>(most))));
      for (const int shift : {-1, 0, 1}) {
        if (zero + shift >= 0 && zero + shift <= most) search.consider({scale, zero + shift, most});
      }
    } else {
      // The side of one code more goes to the sign that needs it; a negative scale turns the sides.
      const auto side = static_cast<float>(middle);
      for (const float extreme : {low, -high}) {
        search.consider({share * extreme / -side, middle, most});
        search.consider({share * extreme / side, middle, most});
      }
    }
  }
  search.refine();
  return search.best();
}

}  // namespace quern
