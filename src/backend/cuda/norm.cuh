// RMS norm of whole rows by a block of kNormThreads. Every kernel that norms a row does it through these, so that a row's norm has the
// same bits wherever it is computed.
#pragma once
#include "backend/cuda/values.cuh"

namespace quern::cuda {

constexpr int kNormThreads = 256, kNormWarps = kNormThreads / kWarp;

// This thread's share of the sum of squares of row h [columns]: values 4 i .. 4 i + 3 for i = thread, thread + 256, ...
QUERN_DEVICE float partial_squares(const float* h, int columns) {
  float sum = 0;
  const bool whole = columns % 4 == 0;
  for (int k = 4 * static_cast<int>(threadIdx.x); k < columns; k += 4 * kNormThreads) {
    if (whole) {
      const float4 v = *reinterpret_cast<const float4*>(h + k);
      sum = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, sum))));
    } else {
      for (int i = 3; i >= 0; --i) {
        if (k + i < columns) sum = fmaf(h[k + i], h[k + i], sum);
      }
    }
  }
  return sum;
}

// 1 / rms from the sums of the block's warps.
QUERN_DEVICE float inverse_rms(const float* warp_sums, int columns, float epsilon) {
  float sum = 0;
  for (int i = 0; i < kNormWarps; ++i) sum += warp_sums[i];
  return 1.F / sqrtf(sum / static_cast<float>(columns) + epsilon);
}

QUERN_DEVICE float normed(float value, float factor, float weight) { return value * factor * weight; }

}  // namespace quern::cuda
