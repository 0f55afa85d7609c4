// Weights of any format and layout as plain f16 rows, for cuBLASLt.
#pragma once
#include <cstdint>

#include "backend/cuda/cuda_stream.h"

namespace quern::cuda {

// Rows first_row .. first_row + rows - 1 of part `index` as f16 [rows, columns] at `out`, 16-byte aligned. The factor of a scaled_half
// weight is applied. Values beyond the range of f16 become its largest.
void launch_expand(const Weight& w, size_t index, size_t first_row, size_t rows, uint16_t* out, CudaStream& stream);

}  // namespace quern::cuda
