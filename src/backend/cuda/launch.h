// One way to launch a kernel: shared memory above 48 KB is asked for, errors carry the kernel's name, and on sm_90 the kernel may start
// while the one before it ends. So every kernel calls wait_for_previous() before it reads or writes anything but weights and the step's
// tables, which nothing in a step writes.
#pragma once
#include "backend/cuda/cuda_check.h"
#include "backend/cuda/cuda_stream.h"

namespace quern::cuda {

struct Grid {
  dim3 blocks;
  unsigned threads = 0;
  size_t smem_bytes = 0;
  unsigned cluster = 1;  // blocks along x that share a cluster; sm_90 on
};

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const Grid& grid, CudaStream& stream, Arguments&&... arguments) {
  if (grid.blocks.x == 0 || grid.blocks.y == 0 || grid.blocks.z == 0) return;
  if (grid.smem_bytes > 48 * 1024) {
    cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(grid.smem_bytes)), name);
  }
  if (grid.smem_bytes > 16 * 1024) {
    cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared), name);
  }
  cudaLaunchAttribute attributes[2];
  cudaLaunchConfig_t config = {};
  config.gridDim = grid.blocks;
  config.blockDim = dim3(grid.threads);
  config.dynamicSmemBytes = grid.smem_bytes;
  config.stream = stream.handle;
  config.attrs = attributes;
  if (stream.overlaps_launches) {
    attributes[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (grid.cluster > 1) {
    attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
    attributes[config.numAttrs].val.clusterDim.x = grid.cluster;
    attributes[config.numAttrs].val.clusterDim.y = 1;
    attributes[config.numAttrs++].val.clusterDim.z = 1;
  }
  cuda_check(cudaLaunchKernelEx(&config, kernel, Parameters(std::forward<Arguments>(arguments))...), name);
}

}  // namespace quern::cuda
