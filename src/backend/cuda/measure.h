// What a GPU can do at most, measured now. Both take memory for the measurement and give it back; engine thread.
#pragma once
#include "backend/cuda/cuda_stream.h"

namespace quern::cuda {

// Bytes a second that a kernel reads from the GPU's memory: the best of several passes over far more than the caches hold.
double measure_reads(CudaStream& stream);
// Multiply-adds a second, counted as two, of a large matrix product in f16 with f32 sums through cuBLASLt; 0 without the library.
double measure_products(CudaStream& stream);

}  // namespace quern::cuda
