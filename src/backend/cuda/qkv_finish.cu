// The end of qkv for rows that leave plain products: one warp a head of a token. Heads of 64 or 128 dimensions that rope turns whole stay
// in registers; others go through shared memory, one block a token.
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

template <int kCount>
QUERN_DEVICE void load_floats(const float* from, float (&values)[kCount]) {
  if constexpr (kCount % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kCount; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      values[i] = four.x, values[i + 1] = four.y, values[i + 2] = four.z, values[i + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = from[i];
  }
}

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

// kPer consecutive values of a head in each lane; lanes i and i + 16 hold the two halves of rope's pairs.
template <int kPer, class Value>
struct LaneValues;
template <int kPer>
struct LaneValues<kPer, uint16_t> {
  QUERN_DEVICE static void load(const void* products, size_t at, float (&values)[kPer]) {
    const auto* const words = reinterpret_cast<const uint32_t*>(static_cast<const uint16_t*>(products) + at);
    uint32_t pairs[kPer / 2];
    if constexpr (kPer == 4) {
      const uint2 two = *reinterpret_cast<const uint2*>(words);
      pairs[0] = two.x, pairs[1] = two.y;
    } else {
      pairs[0] = *words;
    }
#pragma unroll
    for (int i = 0; i < kPer; ++i) values[i] = float_from_half(static_cast<uint16_t>(pairs[i / 2] >> (16 * (i % 2))));
  }
};
template <int kPer>
struct LaneValues<kPer, float> {
  QUERN_DEVICE static void load(const void* products, size_t at, float (&values)[kPer]) {
    load_floats(static_cast<const float*>(products) + at, values);
  }
};
template <int kPer>
QUERN_DEVICE void store_lane(void* to, size_t at, Format format, const float (&values)[kPer]) {
  if (format == Format::f32) {
#pragma unroll
    for (int i = 0; i < kPer; ++i) static_cast<float*>(to)[at + static_cast<size_t>(i)] = values[i];
    return;
  }
  uint32_t pairs[kPer / 2];
#pragma unroll
  for (int i = 0; i < kPer / 2; ++i) {
    pairs[i] = format == Format::f16 ? half2_from(values[2 * i], values[2 * i + 1]) : bfloat2_from_floats(values[2 * i], values[2 * i + 1]);
  }
  auto* const words = reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(to) + at);
  if constexpr (kPer == 4) {
    *reinterpret_cast<uint2*>(words) = make_uint2(pairs[0], pairs[1]);
  } else {
    *words = pairs[0];
  }
}

template <int kPer, class Value>
__global__ void __launch_bounds__(kWarps* kWarp) qkv_finish_whole(const __grid_constant__ FinishArgs a, int items) {
  constexpr int kHeadDim = kPer * kWarp, kHalf = kHeadDim / 2;
  const int lane = static_cast<int>(threadIdx.x) % kWarp,
            item = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  wait_for_previous();
  let_next_start();
  if (item >= items) return;
  const int heads = a.num_heads, kv_heads = a.kv.num_kv_heads, all = heads + 2 * kv_heads, token = item / all, head = item % all;
  const bool is_q = head < heads, is_v = head >= heads + kv_heads;
  const int d = kPer * lane;
  const int32_t position = a.positions[token];
  const float factor = a.factor == nullptr ? 1.F : *a.factor;
  float values[kPer];
  LaneValues<kPer, Value>::load(a.products, static_cast<size_t>(item) * kHeadDim + static_cast<size_t>(d), values);
  float bias[kPer] = {};
  if (a.bias != nullptr) load_floats(a.bias + head * kHeadDim + d, bias);
#pragma unroll
  for (int i = 0; i < kPer; ++i) values[i] = values[i] * factor + bias[i];
  const float* const norm = is_q ? a.q_norm : is_v ? nullptr : a.k_norm;
  if (norm != nullptr) {
    float squares = 0, weights[kPer];
#pragma unroll
    for (int i = 0; i < kPer; ++i) squares = fmaf(values[i], values[i], squares);
    load_floats(norm + d, weights);
    const float inverse = 1.F / sqrtf(warp_sum(squares) / static_cast<float>(kHeadDim) + a.epsilon);
#pragma unroll
    for (int i = 0; i < kPer; ++i) values[i] = values[i] * inverse * weights[i];
  }
  if (!is_v) {
    const int32_t variant = a.rope_variants == nullptr ? 0 : a.rope_variants[token];
    const float* const cos_sin =
        a.rope.cos_sin +
        ((static_cast<size_t>(variant) * static_cast<size_t>(a.rope.max_positions) + static_cast<size_t>(position)) * kHalf +
         static_cast<size_t>(d % kHalf)) *
            2;
    float turn[2 * kPer];
    load_floats(cos_sin, turn);
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const float other = shuffle_xor(values[i], kWarp / 2), across = other * turn[2 * i + 1];
      values[i] = d < kHalf ? values[i] * turn[2 * i] - across : values[i] * turn[2 * i] + across;
    }
  }
  if (is_q) {
    if (a.rope.query_scale != nullptr) {
      const float scale = a.rope.query_scale[position];
#pragma unroll
      for (int i = 0; i < kPer; ++i) values[i] *= scale;
    }
    store_lane(a.q,
               (static_cast<size_t>(token) * static_cast<size_t>(heads) + static_cast<size_t>(head)) * kHeadDim + static_cast<size_t>(d),
               a.q_format, values);
  } else if (const int32_t slot = a.slots[token]; slot >= 0) {
    store_lane(is_v ? a.kv.v : a.kv.k, cache_row(a.kv, slot, is_v ? head - heads - kv_heads : head - heads) + static_cast<size_t>(d),
               a.kv.format, values);
  }
}

template <int kPer>
void launch_whole(const FinishArgs& args, size_t tokens, CudaStream& stream) {
  const int items = static_cast<int>(tokens) * (args.num_heads + 2 * args.kv.num_kv_heads);
  const auto blocks = static_cast<unsigned>((items + kWarps - 1) / kWarps);
  launch("qkv_finish", args.products_format == Format::f16 ? &qkv_finish_whole<kPer, uint16_t> : &qkv_finish_whole<kPer, float>,
         {blocks, kWarps * kWarp}, stream, args, items);
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
  if (a.rope.rotary_dims == a.kv.head_dim && (products.format == Format::f16 || products.format == Format::f32)) {
    if (a.kv.head_dim == 128) return launch_whole<4>(args, products.rows(), stream);
    if (a.kv.head_dim == 64) return launch_whole<2>(args, products.rows(), stream);
  }
  launch("qkv_finish", &qkv_finish,
         {static_cast<unsigned>(products.rows()), kWarps * kWarp, static_cast<size_t>(kWarps * a.kv.head_dim) * 4}, stream, args);
}

}  // namespace quern::cuda
