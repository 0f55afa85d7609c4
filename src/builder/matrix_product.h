// A product of float32 matrices by the backend's own kernels, for what a quantizer computes beside the model. The caller's thread and the
// pool's; a row of the result depends on nothing but its own row of x.
#pragma once
#include <span>
#include <vector>

#include "backend/backend.h"

namespace quern {

// y = x * w^T: x [rows, inner], w [columns, inner], y [rows, columns].
void multiply_rows(std::span<const float> x, std::span<const float> w, size_t inner, std::span<float> y, Backend& backend);

}  // namespace quern
