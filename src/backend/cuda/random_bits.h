// Data from a seed, made on the GPU: for measurements and for models without a file.
#pragma once
#include <cstdint>

#include "backend/cuda/cuda_stream.h"

namespace quern::cuda {

// Random bits; `bytes` a multiple of 4.
void fill_random_bits(std::byte* to, size_t bytes, uint64_t seed, CudaStream& stream);
// f16 values, uniform in (-1, 1).
void fill_random_halves(uint16_t* to, size_t count, uint64_t seed, CudaStream& stream);

}  // namespace quern::cuda
