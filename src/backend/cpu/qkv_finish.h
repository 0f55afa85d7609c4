// The second half of qkv, shared by its rows: bias, per-head norms, rope, query scale, and the way into the cache.
// On the CPU a block of K is [head_dim, block_tokens], the other way round than a block of V: a vector of attention then holds one
// dimension of neighbouring positions.
#pragma once
#include "backend/ops/ops.h"

namespace quern::cpu {

// Finishes row `token` of the batch. `products` [(num_heads + 2*num_kv_heads) * head_dim] are the row's plain products; overwritten.
void finish_qkv_row(const QkvArgs& args, size_t token, float* products);

}  // namespace quern::cpu
