// Stream kernels for f16 rows.
#include "backend/cuda/stream_kernel.cuh"
#include "backend/cuda/tile_kernel.cuh"

namespace quern::cuda {

StreamKernels half_kernels() { return {&run_stream<HalfWeights, 1>, &run_tiles<HalfWeights, 1>}; }

}  // namespace quern::cuda
