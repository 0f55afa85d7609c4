// What the two attention kernels share: K and V rows of 16-bit values in shared memory, and matrix instructions on them.
// Chunk c (16 bytes) of a token's row lies at chunk c ^ (token % 8), so that eight tokens' chunks meet no bank twice.
#pragma once
#include "backend/cuda/launch.h"
#include "backend/cuda/values.cuh"

namespace quern::cuda {

constexpr float kLog2E = 1.4426950408889634F;

struct AttentionView {
  const uint16_t* q;
  void* y;  // f16
  KvView kv;
  const int32_t *query_start, *context_lengths, *positions, *block_tables;
  int num_sequences, num_decode, block_table_stride, num_heads, window;
  int page_shift;  // log2 of kv.block_tokens
  float scale;     // times log2(e)
};

template <int kHeadDim>
QUERN_DEVICE unsigned char* row_chunk(unsigned char* rows, int token, int chunk) {
  return rows + token * kHeadDim * 2 + (chunk ^ token % 8) * 16;
}

// Where a token's row of one KV head lies in the cache, in bytes.
template <int kHeadDim>
QUERN_DEVICE size_t cache_offset(const AttentionView& v, const int32_t* table, int kv_head, int position) {
  const auto row = static_cast<unsigned>(table[position >> v.page_shift] * v.kv.num_kv_heads + kv_head);
  return ((static_cast<size_t>(row) << v.page_shift) + static_cast<size_t>(position & (v.kv.block_tokens - 1))) * kHeadDim * 2;
}

// d += a b for the cache's 16-bit type.
template <bool kBfloat>
QUERN_DEVICE void mma_16(float4& d, uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
  if constexpr (kBfloat) {
    mma_bf16(d, a0, a1, a2, a3, b0, b1);
  } else {
    mma_f16(d, a0, a1, a2, a3, b0, b1);
  }
}
template <bool kBfloat>
QUERN_DEVICE uint32_t pair_from(float low, float high) {
  return kBfloat ? bfloat2_from_floats(low, high) : half2_from_floats(low, high);
}
// Two q values of f16 in the cache's type.
template <bool kBfloat>
QUERN_DEVICE uint32_t q_pair(uint32_t halves) {
  if constexpr (!kBfloat) return halves;
  return bfloat2_from_floats(float_from_half(static_cast<uint16_t>(halves)), float_from_half(static_cast<uint16_t>(halves >> 16)));
}

// exp2(a - b), where b is the largest so far: 0 when both are -infinity.
QUERN_DEVICE float weight_of(float a, float b) { return a == -INFINITY ? 0.F : exp2_of(a - b); }

}  // namespace quern::cuda
