// RMS norm of rows, one block a row.
#include "backend/cuda/launch.h"
#include "backend/cuda/norm.cuh"
#include "backend/cuda/pieces.h"

namespace quern::cuda {
namespace {

__global__ void norm_rows(const float* h, const int32_t* rows, const float* norm, float epsilon, int columns, void* x, Format format) {
  __shared__ float sums[kNormWarps];
  wait_for_previous();
  let_next_start();
  const auto row = static_cast<size_t>(rows == nullptr ? static_cast<int>(blockIdx.x) : rows[blockIdx.x]);
  const float* const from = h + row * static_cast<size_t>(columns);
  const float sum = warp_sum(partial_squares(from, columns));
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = sum;
  sync_block();
  const float factor = inverse_rms(sums, columns, epsilon);
  const size_t to = static_cast<size_t>(blockIdx.x) * static_cast<size_t>(columns);
  if (format == Format::f16 && columns % 4 == 0) {
    for (int k = 4 * static_cast<int>(threadIdx.x); k < columns; k += 4 * kNormThreads) {
      const float4 v = *reinterpret_cast<const float4*>(from + k), w = *reinterpret_cast<const float4*>(norm + k);
      const uint2 pair = make_uint2(half2_from(normed(v.x, factor, w.x), normed(v.y, factor, w.y)),
                                    half2_from(normed(v.z, factor, w.z), normed(v.w, factor, w.w)));
      *reinterpret_cast<uint2*>(static_cast<uint16_t*>(x) + to + static_cast<size_t>(k)) = pair;
    }
  } else {
    for (int k = static_cast<int>(threadIdx.x); k < columns; k += kNormThreads) {
      store_value(x, to + static_cast<size_t>(k), format, normed(from[k], factor, norm[k]));
    }
  }
}

}  // namespace

void launch_norm(const Tensor& h, const int32_t* rows, const Tensor& norm, float epsilon, const Tensor& x, CudaStream& stream) {
  launch("norm_rows", &norm_rows, {static_cast<unsigned>(x.rows()), kNormThreads}, stream, reinterpret_cast<const float*>(h.data), rows,
         reinterpret_cast<const float*>(norm.data), epsilon, static_cast<int>(h.columns()), x.data, x.format);
}

}  // namespace quern::cuda
