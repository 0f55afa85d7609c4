// The steps of an operation that rows share: norm, a plain product, the end of qkv, the gate. One launch each.
#pragma once
#include <cstdint>

#include "backend/cuda/cuda_stream.h"

namespace quern::cuda {

// x[i] = rmsnorm(h[rows[i]]) (rows null: of row i), in x's format (f32 or f16).
void launch_norm(const Tensor& h, const int32_t* rows, const Tensor& norm, float epsilon, const Tensor& x, CudaStream& stream);

// y[m, first_column + n] = x[m] . w part[n] (+ bias[n]) (+ residual[m, n]) in f32 for weights of any format and layout.
struct Product {
  Tensor x;  // [tokens, in]
  const Weight* w;
  size_t part = 0;
  Tensor bias = {}, residual = {};
  Tensor y;  // [tokens, any]
  size_t first_column = 0;
};
void launch_product(const Product& product, CudaStream& stream);

// Bias, head norms, rope, query scale and the way into the cache, for plain products [tokens, (heads + 2 kv heads) * head_dim] times
// `factor` (on the device; null: 1). f32 or f16.
void launch_qkv_finish(const QkvArgs& args, const Tensor& products, const float* factor, CudaStream& stream);

// y = silu(g) * u for products [tokens, 2 * intermediate] = g, u, times `factor`. f32 or f16.
void launch_gate(const Tensor& products, const float* factor, const Tensor& y, CudaStream& stream);

}  // namespace quern::cuda
