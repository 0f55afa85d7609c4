// Stream kernels for 4-bit codes.
#include "backend/cuda/stream_kernel.cuh"
#include "backend/cuda/tile_kernel.cuh"

namespace quern::cuda {
namespace {

template <int kGroups, bool kZeros>
constexpr StreamKernels kernels() {
  return {&run_stream<GranuleWeights<4, kGroups, kZeros>, 2>, &run_tiles<GranuleWeights<4, kGroups, kZeros>, 2>};
}

}  // namespace

StreamKernels nibble_kernels(GranuleFormat format) {
  if (format.group == 128) return format.has_zeros ? kernels<1, true>() : kernels<1, false>();
  if (format.group == 64) return format.has_zeros ? kernels<2, true>() : kernels<2, false>();
  return format.has_zeros ? kernels<4, true>() : kernels<4, false>();
}

}  // namespace quern::cuda
