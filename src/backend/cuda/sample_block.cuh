// Reductions over a block of kSampleThreads and walks over a row of logits, for sampling. All orders are fixed.
#pragma once
#include "backend/cuda/values.cuh"
#include "backend/ops/sample_random.h"

namespace quern::cuda {

constexpr int kSampleThreads = 1024, kSampleWarps = kSampleThreads / kWarp, kSampleBlock = 64;

struct Token {
  float logit;
  int32_t id;
};
// Whether a ranks before b: the larger logit, the lower id among equals.
QUERN_DEVICE bool is_before(const Token& a, const Token& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

// Combines the threads' values, in shared memory `scratch` (of kSampleWarps values); every thread gets the result. Both halves are
// butterflies: in a loop over warps 1 to 31 of a large T, unrolled by nvcc 13.0's assembler, warps 41 to 43 are read for 25 to 27.
template <class T, class Combine>
QUERN_DEVICE T reduce_block(T value, T* scratch, const Combine& combine) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  static_assert(kSampleWarps == kWarp);
  sync_warp();  // see warp_sum()
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value = combine(value, shuffle_xor_any(value, mask));
  sync_block();
  if (lane == 0) scratch[warp] = value;
  sync_block();
  value = scratch[lane];
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value = combine(value, shuffle_xor_any(value, mask));
  return value;
}

// One row: logits in global memory, and the largest of every 64 of them in shared memory.
struct SampleView {
  float* logits;
  float* maxima;
  int count, blocks;
  float largest, inverse_temperature;

  // visit(id, logit) for the tokens of every block whose maximum is at least `least`, a warp a block.
  template <class Visit>
  QUERN_DEVICE void each(float least, const Visit& visit) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
    for (int block = warp; block < blocks; block += kSampleWarps) {
      if (!(maxima[block] >= least)) continue;
      for (int id = block * kSampleBlock + lane; id < min(count, (block + 1) * kSampleBlock); id += kWarp)
        visit(id, load_l2(logits + id));  // past the first-level cache: modify() adds in the second
    }
  }
  QUERN_DEVICE float weight(float logit) const { return sample_weight(logit, largest, inverse_temperature); }
};

// The tokens at least as preferred as the one with this key and id.
struct SampleCut {
  uint32_t key;
  int32_t id;
  QUERN_DEVICE bool keeps(uint32_t key_of_token, int32_t id_of_token) const {
    return key_of_token != key ? key_of_token > key : id_of_token <= id;
  }
};

// The logit of an order key.
QUERN_DEVICE float logit_of_key(uint32_t key) { return __uint_as_float((key & 0x80000000U) != 0 ? key & 0x7fffffffU : ~key); }

}  // namespace quern::cuda
