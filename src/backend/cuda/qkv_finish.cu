// The end of qkv for rows that leave plain products: one block a token, one warp a head.
#include "backend/cuda/launch.h"
#include "backend/cuda/pieces.h"
#include "backend/cuda/values.cuh"

namespace quern::cuda {
namespace {

constexpr int kWarps = 8;

struct FinishArgs {
  const void* products;
  Format products_format;
  const float* factor;
  const float *bias, *q_norm, *k_norm;
  float epsilon;
  RopeView rope;
  const int32_t *positions, *slots, *rope_variants;
  KvView kv;
  int num_heads;
  void* q;
  Format q_format;
};

// Where head `head` of the token in `slot` lies in the cache, in values.
QUERN_DEVICE size_t cache_row(const KvView& kv, int32_t slot, int head) {
  const int block = slot / kv.block_tokens, offset = slot % kv.block_tokens;
  return ((static_cast<size_t>(block) * static_cast<size_t>(kv.num_kv_heads) + static_cast<size_t>(head)) *
              static_cast<size_t>(kv.block_tokens) +
          static_cast<size_t>(offset)) *
         static_cast<size_t>(kv.head_dim);
}

__global__ void qkv_finish(const __grid_constant__ FinishArgs a) {
  wait_for_previous();
  let_next_start();
  const int token = static_cast<int>(blockIdx.x), lane = static_cast<int>(threadIdx.x) % kWarp,
            warp = static_cast<int>(threadIdx.x) / kWarp;
  const int head_dim = a.kv.head_dim, heads = a.num_heads, kv_heads = a.kv.num_kv_heads, half = a.rope.rotary_dims / 2;
  float* const values = reinterpret_cast<float*>(dynamic_smem()) + warp * head_dim;
  const int32_t position = a.positions[token], slot = a.slots[token];
  const int32_t variant = a.rope_variants == nullptr ? 0 : a.rope_variants[token];
  const float factor = a.factor == nullptr ? 1.F : *a.factor;
  const float* const cos_sin =
      a.rope.cos_sin + (static_cast<size_t>(variant) * static_cast<size_t>(a.rope.max_positions) + static_cast<size_t>(position)) *
                           static_cast<size_t>(half) * 2;
  const size_t features = static_cast<size_t>(heads + 2 * kv_heads) * static_cast<size_t>(head_dim);
  for (int head = warp; head < heads + 2 * kv_heads; head += kWarps) {
    const bool is_q = head < heads, is_v = head >= heads + kv_heads;
    const size_t first = static_cast<size_t>(head) * static_cast<size_t>(head_dim);
    float squares = 0;
    for (int d = lane; d < head_dim; d += kWarp) {
      const size_t i = first + static_cast<size_t>(d);
      float v = load_value(a.products, static_cast<size_t>(token) * features + i, a.products_format) * factor;
      if (a.bias != nullptr) v += a.bias[i];
      values[d] = v;
      squares = fmaf(v, v, squares);
    }
    const float* const norm = is_q ? a.q_norm : is_v ? nullptr : a.k_norm;
    if (norm != nullptr) {
      const float inverse = 1.F / sqrtf(warp_sum(squares) / static_cast<float>(head_dim) + a.epsilon);
      for (int d = lane; d < head_dim; d += kWarp) values[d] = values[d] * inverse * norm[d];
    }
    sync_warp();
    if (!is_v) {
      for (int i = lane; i < half; i += kWarp) {
        const float cos = cos_sin[2 * i], sin = cos_sin[2 * i + 1], low = values[i], high = values[i + half];
        values[i] = low * cos - high * sin;
        values[i + half] = high * cos + low * sin;
      }
      sync_warp();
    }
    if (is_q) {
      const float scale = a.rope.query_scale == nullptr ? 1.F : a.rope.query_scale[position];
      const size_t to =
          (static_cast<size_t>(token) * static_cast<size_t>(heads) + static_cast<size_t>(head)) * static_cast<size_t>(head_dim);
      for (int d = lane; d < head_dim; d += kWarp) store_value(a.q, to + static_cast<size_t>(d), a.q_format, values[d] * scale);
    } else if (slot >= 0) {
      const size_t to = cache_row(a.kv, slot, is_v ? head - heads - kv_heads : head - heads);
      for (int d = lane; d < head_dim; d += kWarp) store_value(is_v ? a.kv.v : a.kv.k, to + static_cast<size_t>(d), a.kv.format, values[d]);
    }
    sync_warp();
  }
}

}  // namespace

void launch_qkv_finish(const QkvArgs& a, const Tensor& products, const float* factor, CudaStream& stream) {
  const auto floats = [](const Tensor& t) { return reinterpret_cast<const float*>(t.data); };
  const FinishArgs args = {products.data,
                           products.format,
                           factor,
                           floats(a.bias),
                           floats(a.q_norm),
                           floats(a.k_norm),
                           a.norm_epsilon,
                           a.rope,
                           a.batch.positions,
                           a.batch.slots,
                           a.batch.rope_variants,
                           a.kv,
                           static_cast<int>(a.q.columns()) / a.kv.head_dim,
                           a.q.data,
                           a.q.format};
  launch("qkv_finish", &qkv_finish,
         {static_cast<unsigned>(products.rows()), kWarps * kWarp, static_cast<size_t>(kWarps * a.kv.head_dim) * 4}, stream, args);
}

}  // namespace quern::cuda
