// What happens to finished sums: lane 4 g + t holds rows g (x, y) and g + 8 (z, w) of a tile for the tokens 2 t (x, z) and 2 t + 1.
#pragma once
#include "backend/cuda/stream_weights.cuh"

namespace quern::cuda {

QUERN_DEVICE void finish_linear(const StreamArgs& a, int row, size_t token, float sum) {
  if (a.bias != nullptr) sum += a.bias[row];
  const size_t at = token * static_cast<size_t>(a.y_stride) + static_cast<size_t>(row);
  if (a.residual != nullptr) sum += a.residual[at];
  store_value(a.y, at, a.y_format, sum);
}

// Dimensions d and d + head_dim / 2 of one head.
QUERN_DEVICE void finish_qkv(const StreamArgs& a, int part, int head, int d, size_t token, float low, float high) {
  const int head_dim = a.kv.head_dim, half = head_dim / 2;
  const int feature = ((part > 0 ? a.num_heads : 0) + (part > 1 ? a.kv.num_kv_heads : 0) + head) * head_dim + d;
  if (a.op == StreamOp::products) {
    const size_t at = token * static_cast<size_t>(a.y_stride) + static_cast<size_t>(feature);
    store_value(a.y, at, a.y_format, low);
    store_value(a.y, at + static_cast<size_t>(half), a.y_format, high);
    return;
  }
  if (a.bias != nullptr) {
    low += a.bias[feature];
    high += a.bias[feature + half];
  }
  const int32_t position = a.positions[token];
  if (part < 2) {
    const int32_t variant = a.rope_variants == nullptr ? 0 : a.rope_variants[token];
    const size_t pair = (static_cast<size_t>(variant) * static_cast<size_t>(a.rope.max_positions) + static_cast<size_t>(position)) *
                            static_cast<size_t>(half) +
                        static_cast<size_t>(d);
    const float2 cos_sin = reinterpret_cast<const float2*>(a.rope.cos_sin)[pair];
    const float rotated = low * cos_sin.x - high * cos_sin.y;
    high = high * cos_sin.x + low * cos_sin.y;
    low = rotated;
  }
  if (part == 0) {
    const float scale = a.rope.query_scale == nullptr ? 1.F : a.rope.query_scale[position];
    const size_t at = token * static_cast<size_t>(a.y_stride) + static_cast<size_t>(feature);
    store_value(a.y, at, a.y_format, low * scale);
    store_value(a.y, at + static_cast<size_t>(half), a.y_format, high * scale);
    return;
  }
  const int32_t slot = a.slots[token];
  if (slot < 0) return;
  const size_t row = (static_cast<size_t>(slot / a.kv.block_tokens) * static_cast<size_t>(a.kv.num_kv_heads) + static_cast<size_t>(head)) *
                         static_cast<size_t>(a.kv.block_tokens) +
                     static_cast<size_t>(slot % a.kv.block_tokens);
  const size_t at = row * static_cast<size_t>(head_dim) + static_cast<size_t>(d);
  std::byte* const cache = part == 1 ? a.kv.k : a.kv.v;
  store_value(cache, at, a.kv.format, low);
  store_value(cache, at + static_cast<size_t>(half), a.kv.format, high);
}

// Finishes a tile for the tokens first .. first + 7 of the launch.
template <class W>
QUERN_DEVICE void finish_tile(const StreamArgs& a, int tile, int first, int lane, float4 sums) {
  const int g = lane / 4, t = lane % 4;
  const TileRows rows = tile_rows(a, tile);
  float low_scale = a.factor == nullptr ? 1.F : *a.factor, high_scale = low_scale;
  if constexpr (W::kHasRowScales) {
    low_scale = reinterpret_cast<const float*>(a.scales[rows.part[0]])[rows.granule[0] * 8 + g];
    high_scale = reinterpret_cast<const float*>(a.scales[rows.part[1]])[rows.granule[1] * 8 + g];
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int m = first + 2 * t + i;
    if (m >= a.num_tokens) break;
    const auto token = static_cast<size_t>(a.first_token + m);
    const float low = (i == 0 ? sums.x : sums.y) * low_scale, high = (i == 0 ? sums.z : sums.w) * high_scale;
    if (a.op == StreamOp::linear) {
      finish_linear(a, rows.granule[0] * 8 + g, token, low);
      finish_linear(a, rows.granule[1] * 8 + g, token, high);
    } else if (a.op == StreamOp::gate_up) {
      store_value(a.y, token * static_cast<size_t>(a.y_stride) + static_cast<size_t>(rows.granule[0] * 8 + g), a.y_format,
                  silu(low) * high);
    } else {
      const int row = rows.granule[0] * 8 + g;
      finish_qkv(a, rows.part[0], row / a.kv.head_dim, row % a.kv.head_dim, token, low, high);
    }
  }
}

}  // namespace quern::cuda
