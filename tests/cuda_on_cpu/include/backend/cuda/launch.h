// launch() where kernels run on the CPU: every thread of every block, to the end, before it returns.
#pragma once
#include "backend/cuda/cuda_stream.h"

namespace quern::cuda {

struct Grid {
  dim3 blocks;
  unsigned threads = 0;
  size_t smem_bytes = 0;
  unsigned cluster = 1;
};

template <class... Parameters, class... Arguments>
void launch(const char*, void (*kernel)(Parameters...), const Grid& grid, CudaStream&, Arguments&&... arguments) {
  if (grid.blocks.x == 0 || grid.blocks.y == 0 || grid.blocks.z == 0) return;
  emulation::run_grid({grid.blocks.x, grid.blocks.y, grid.blocks.z}, grid.threads, grid.smem_bytes, grid.cluster,
                      [&] { kernel(Parameters(arguments)...); });
}

}  // namespace quern::cuda
