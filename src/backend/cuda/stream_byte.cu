// Stream kernels for 8-bit codes.
#include "backend/cuda/stream_kernel.cuh"
#include "backend/cuda/tile_kernel.cuh"

namespace quern::cuda {
namespace {

template <int kGroups>
constexpr StreamKernels kernels() {
  return {&run_stream<GranuleWeights<8, kGroups, false>, 2>, &run_tiles<GranuleWeights<8, kGroups, false>, 2>};
}

}  // namespace

StreamKernels byte_kernels(GranuleFormat format) {
  if (format.group == 0) return kernels<0>();
  return format.group == 64 ? kernels<1>() : kernels<2>();
}

}  // namespace quern::cuda
