// Where top_k and top_p cut a row: searches over the order keys of the logits, eight ways a pass, without sorting and without atomics.
#pragma once
#include "backend/cuda/sample_block.cuh"

namespace quern::cuda {

constexpr int kThresholds = 7;

struct Sums {
  double of[kThresholds];
};

// The smallest cut within `outer` whose tokens' shares reach `target`. share(weight): 1 to count, the weight itself for mass.
template <class Share>
QUERN_DEVICE SampleCut search_cut(const SampleView& row, const SampleCut& outer, double target, const Share& share, Sums* scratch) {
  // Shares of keys >= low reach the target, those of keys >= high do not.
  uint32_t low = 0, high = order_key(row.largest) + 1;
  double above = 0;  // shares of keys >= high
  bool is_reached = false;
  while (high - low > 1) {
    const uint32_t step = (high - low + kThresholds) / (kThresholds + 1);
    Sums sums = {};
    const uint32_t first = low + step;
    row.each(logit_of_key(first), [&](int id, float logit) {
      const uint32_t key = order_key(logit);
      if (key < first || !outer.keeps(key, id)) return;
      const double part = share(row.weight(logit));
#pragma unroll
      for (int i = 0; i < kThresholds; ++i) {
        if (key >= low + step * static_cast<uint32_t>(i + 1)) sums.of[i] += part;
      }
    });
    sums = reduce_block(sums, scratch, [](Sums a, const Sums& b) {
#pragma unroll
      for (int i = 0; i < kThresholds; ++i) a.of[i] += b.of[i];
      return a;
    });
    for (int i = kThresholds - 1; i >= 0; --i) {
      const uint32_t threshold = low + step * static_cast<uint32_t>(i + 1);
      if (threshold >= high) continue;
      if (sums.of[i] >= target) {
        low = threshold;
        is_reached = true;
        break;
      }
      high = threshold;
      above = sums.of[i];
    }
  }
  if (!is_reached) return outer;  // rounding kept the target out of reach: all of outer
  const uint32_t key = low;
  const float logit = logit_of_key(key);
  // How many of the tokens with this key are needed, and the id of the last of them.
  const double part = share(row.weight(logit));
  int needed = 1;
  while (above + part < target && needed < row.count) {
    above += part;
    ++needed;
  }
  int32_t first = -1, last = row.count - 1;  // fewer than `needed` ids up to first, at least as many up to last (or all)
  while (last - first > 1) {
    const int32_t middle = first + (last - first) / 2;
    int found = 0;
    row.each(logit, [&](int id, float value) { found += order_key(value) == key && id <= middle && outer.keeps(key, id) ? 1 : 0; });
    found = reduce_block(found, reinterpret_cast<int*>(scratch), [](int a, int b) { return a + b; });
    (found >= needed ? last : first) = middle;
  }
  return {key, last};
}

}  // namespace quern::cuda
