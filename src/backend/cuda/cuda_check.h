// Turns a CUDA error into quern::Error: memory is resource, an unusable driver or GPU incompatible, everything else internal.
#pragma once
#include <cuda_runtime.h>

#include "base/error.h"

namespace quern::cuda {

[[noreturn]] void raise_cuda(cudaError_t error, const char* what);

inline void cuda_check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) [[unlikely]]
    raise_cuda(error, what);
}

}  // namespace quern::cuda
