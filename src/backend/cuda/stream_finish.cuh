// What happens to finished sums: lane 4 g + t holds rows g (x, y) and g + 8 (z, w) of a tile for the tokens 2 t (x, z) and 2 t + 1.
#pragma once
#include "backend/cuda/stream_weights.cuh"

namespace quern::cuda {

// What finishing a tile reads besides its sums, for this lane's two rows and two tokens: fetched while the sums are still being made.
struct FinishInputs {
  float scales[2];  // of rows g and g + 8
  float bias[2];
  float2 pairs[2];  // of each token: the two rows' residual, or cosine and sine
  float query_scale[2];
  int32_t slots[2];
};

// Whether rope's pairs and the cache matter: op qkv, and a row of q, k or v.
struct HeadRow {
  int part, head, d, feature;
};
QUERN_DEVICE HeadRow head_row(const StreamArgs& a, const TileRows& rows, int g) {
  const int row = rows.granule[0] * 8 + g, part = rows.part[0], head = row / a.kv.head_dim, d = row % a.kv.head_dim;
  return {part, head, d, ((part > 0 ? a.num_heads : 0) + (part > 1 ? a.kv.num_kv_heads : 0) + head) * a.kv.head_dim + d};
}

// For the tokens first .. first + 7 of the launch.
template <class W>
QUERN_DEVICE FinishInputs load_finish(const StreamArgs& a, int tile, int first, int lane) {
  const int g = lane / 4, t = lane % 4;
  const TileRows rows = tile_rows(a, tile);
  FinishInputs in = {};
  in.scales[0] = in.scales[1] = a.factor == nullptr ? 1.F : *a.factor;
  if constexpr (W::kHasRowScales) {
#pragma unroll
    for (int i = 0; i < 2; ++i) in.scales[i] = reinterpret_cast<const float*>(a.scales[rows.part[i]])[rows.granule[i] * 8 + g];
  }
  if (a.op == StreamOp::gate_up || a.op == StreamOp::products) return in;
  const bool is_linear = a.op == StreamOp::linear;
  const HeadRow at = is_linear ? HeadRow{} : head_row(a, rows, g);
  const int features[2] = {is_linear ? rows.granule[0] * 8 + g : at.feature,
                           is_linear ? rows.granule[1] * 8 + g : at.feature + a.kv.head_dim / 2};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (a.bias != nullptr) in.bias[i] = a.bias[features[i]];
    const int m = first + 2 * t + i;
    if (m >= a.num_tokens) continue;
    const auto token = static_cast<size_t>(a.first_token + m);
    if (is_linear) {
      if (a.residual == nullptr) continue;
      const float* const row = a.residual + token * static_cast<size_t>(a.y_stride);
      in.pairs[i] = make_float2(row[features[0]], row[features[1]]);
      continue;
    }
    in.slots[i] = a.slots[token];
    if (at.part == 2) continue;
    const int32_t position = a.positions[token], variant = a.rope_variants == nullptr ? 0 : a.rope_variants[token];
    const auto half = static_cast<size_t>(a.kv.head_dim / 2);
    in.pairs[i] = reinterpret_cast<const float2*>(
        a.rope.cos_sin)[(static_cast<size_t>(variant) * static_cast<size_t>(a.rope.max_positions) + static_cast<size_t>(position)) * half +
                        static_cast<size_t>(at.d)];
    in.query_scale[i] = at.part == 0 && a.rope.query_scale != nullptr ? a.rope.query_scale[position] : 1.F;
  }
  return in;
}

// Dimensions d and d + head_dim / 2 of one head of token i.
QUERN_DEVICE void finish_qkv(const StreamArgs& a, const HeadRow& at, const FinishInputs& in, int i, size_t token, float low, float high) {
  const int head_dim = a.kv.head_dim;
  const auto half = static_cast<size_t>(head_dim / 2);
  const size_t to = token * static_cast<size_t>(a.y_stride) + static_cast<size_t>(at.feature);
  if (a.op == StreamOp::products) {
    store_value(a.y, to, a.y_format, low);
    store_value(a.y, to + half, a.y_format, high);
    return;
  }
  low += in.bias[0];
  high += in.bias[1];
  if (at.part < 2) {
    const float2 cos_sin = in.pairs[i];
    const float rotated = low * cos_sin.x - high * cos_sin.y;
    high = high * cos_sin.x + low * cos_sin.y;
    low = rotated;
  }
  if (at.part == 0) {
    store_value(a.y, to, a.y_format, low * in.query_scale[i]);
    store_value(a.y, to + half, a.y_format, high * in.query_scale[i]);
    return;
  }
  const int32_t slot = in.slots[i];
  if (slot < 0) return;
  const size_t row =
      (static_cast<size_t>(slot / a.kv.block_tokens) * static_cast<size_t>(a.kv.num_kv_heads) + static_cast<size_t>(at.head)) *
          static_cast<size_t>(a.kv.block_tokens) +
      static_cast<size_t>(slot % a.kv.block_tokens);
  const size_t in_cache = row * static_cast<size_t>(head_dim) + static_cast<size_t>(at.d);
  std::byte* const cache = at.part == 1 ? a.kv.k : a.kv.v;
  store_value(cache, in_cache, a.kv.format, low);
  store_value(cache, in_cache + half, a.kv.format, high);
}

// Finishes a tile for the tokens first .. first + 7 of the launch.
QUERN_DEVICE void finish_tile(const StreamArgs& a, int tile, int first, int lane, float4 sums, const FinishInputs& in) {
  const int g = lane / 4, t = lane % 4;
  const TileRows rows = tile_rows(a, tile);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int m = first + 2 * t + i;
    if (m >= a.num_tokens) break;
    const auto token = static_cast<size_t>(a.first_token + m);
    const float low = (i == 0 ? sums.x : sums.y) * in.scales[0], high = (i == 0 ? sums.z : sums.w) * in.scales[1];
    const size_t row = token * static_cast<size_t>(a.y_stride);
    if (a.op == StreamOp::linear) {
      const auto one = static_cast<size_t>(rows.granule[0] * 8 + g), two = static_cast<size_t>(rows.granule[1] * 8 + g);
      store_value(a.y, row + one, a.y_format, low + in.bias[0] + in.pairs[i].x);
      store_value(a.y, row + two, a.y_format, high + in.bias[1] + in.pairs[i].y);
    } else if (a.op == StreamOp::gate_up) {
      store_value(a.y, row + static_cast<size_t>(rows.granule[0] * 8 + g), a.y_format, silu(low) * high);
    } else {
      finish_qkv(a, head_row(a, rows, g), in, i, token, low, high);
    }
  }
}

}  // namespace quern::cuda
